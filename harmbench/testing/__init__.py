"""The contracts of every room, for authors of plug-ins and for harmbench's own tests.

    check_distance, check_loss, check_backbone, check_dataset, check_meter, check_format, check_plot

Each takes a component, or a class of which it checks all named variants. It returns a `Result` for each contract, or
raises one `ContractError` that names every broken contract with numbers. `harmbench check NAME` shows the same as a
table. No test framework is needed. A test takes one line:

    def test_my_distance():
        check_distance(MyDistance)

Each room's module (`harmbench.testing.distances`, ...) has the single contracts as functions, and `judge_distance`
and its like, which return results and raise nothing.
"""

from __future__ import annotations

from harmbench.errors import ContractError
from harmbench.testing._contract import Result, Skipped
from harmbench.testing.backbones import check_backbone, judge_backbone
from harmbench.testing.datasets import check_dataset, judge_dataset
from harmbench.testing.distances import check_distance, judge_distance
from harmbench.testing.formats import check_format, judge_format
from harmbench.testing.losses import check_loss, judge_loss
from harmbench.testing.meters import check_meter, judge_meter
from harmbench.testing.plots import check_plot, judge_plot

__all__ = [
    "ContractError",
    "Result",
    "Skipped",
    "check_backbone",
    "check_dataset",
    "check_distance",
    "check_format",
    "check_loss",
    "check_meter",
    "check_plot",
    "judge_backbone",
    "judge_dataset",
    "judge_distance",
    "judge_format",
    "judge_loss",
    "judge_meter",
    "judge_plot",
]
