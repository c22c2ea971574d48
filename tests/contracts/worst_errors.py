"""Prints the worst relative error of every distance in float32: `python -m tests.contracts.worst_errors`."""

from __future__ import annotations

import numpy as np
import torch

from harmbench.distances import DISTANCES
from tests.contracts.references import INPUTS, REFERENCES
from tests.contracts.test_distances import learnt_parameters


def worst_error(address: str, kind: str, dtype: torch.dtype = torch.float32) -> float:
    """Largest |d - reference| / reference over the pairs of one kind of input; infinite for d > 0 = reference."""
    distance = DISTANCES.parse(address)
    X, W = INPUTS[kind]
    parameters = learnt_parameters(distance, X.shape[1])
    found = distance(torch.tensor(X, dtype=dtype), torch.tensor(W, dtype=dtype), parameters).double().numpy()
    expected = REFERENCES[address](X, W, {name: p.double().numpy() for name, p in parameters.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.nan_to_num(np.abs(found - expected) / expected, nan=0.0, posinf=np.inf).max())


def main() -> None:
    print(f"{'float32 against the reference':52}" + "".join(f"{kind:>10}" for kind in INPUTS))  # noqa: T201
    for address in REFERENCES:
        print(f"{address:52}" + "".join(f"{worst_error(address, kind):10.1e}" for kind in INPUTS))  # noqa: T201


if __name__ == "__main__":
    main()
