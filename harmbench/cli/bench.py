"""`harmbench bench`: cost of heads on this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harmbench.errors import OptionError

if TYPE_CHECKING:
    from harmbench.nn.distances import Distance

app = typer.Typer(help="Micro-benchmarks on this machine.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Micro-benchmarks on this machine."""


@app.command("heads")
def bench_heads(
    metrics: Annotated[
        list[str] | None, typer.Option(help="Distances, or paper for those of the papers; all by default.")
    ] = None,
    shapes: Annotated[list[str] | None, typer.Option(help="ROWSxFEATURESxCLASSES, commas or repeats.")] = None,
    forms: Annotated[list[str] | None, typer.Option(help="fast, cdist, reference.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    seconds: Annotated[float, typer.Option(help="Time for each line.", min=0.0)] = 3.0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves torch's choice.", min=0)] = 0,
    format: Annotated[str, typer.Option(help="md or json.")] = "md",  # noqa: A002
    out: Annotated[Path | None, typer.Option(help="Also write OUT.md and OUT.json.")] = None,
) -> None:
    """Time and memory of each head against nn.Linear + F.cross_entropy, as paired ratios with their spread."""
    if format not in ("md", "json"):
        raise OptionError(f"--format {format}: write md or json")
    import torch

    from harmbench.registry import split_names
    from harmbench.runner import head_benchmark

    chosen_forms = split_names(forms or ["fast", "cdist"])
    unknown = [form for form in chosen_forms if form not in head_benchmark.FORMS]
    if unknown:
        raise OptionError(f"--forms {unknown[0]}: write {', '.join(head_benchmark.FORMS)}")
    if threads:
        torch.set_num_threads(threads)
    distances = _distances(metrics or [])
    sizes = head_benchmark.SHAPES
    if shapes:
        sizes = tuple(head_benchmark.Shape.parse(text) for text in split_names(shapes))
    about = {**head_benchmark.machine(device), "command": shlex.join(["harmbench", *sys.argv[1:]])}
    lines: list[head_benchmark.Cost | head_benchmark.SkippedHead] = []
    for line in head_benchmark.measure(distances, sizes, chosen_forms, device=device, seconds=seconds):  # type: ignore[arg-type]
        lines.append(line)
        result = line.reason if isinstance(line, head_benchmark.SkippedHead) else f"{line.ratio:.2f}"
        typer.echo(f"{line.shape} {line.distance} {line.form}: {result}", err=True)
        if out:  # after each line, so that an interrupted benchmark keeps its results
            out.parent.mkdir(parents=True, exist_ok=True)
            out.with_suffix(".md").write_text(head_benchmark.as_markdown(lines, about))
            out.with_suffix(".json").write_text(head_benchmark.as_json(lines, about))
    text = head_benchmark.as_markdown(lines, about)
    if format == "json":
        text = head_benchmark.as_json(lines, about)
    typer.echo(text, nl=False)


def _distances(metrics: list[str]) -> list[Distance]:
    """The named distances, or every registered one if none is named."""
    from harmbench.nn.distances import DISTANCES
    from harmbench.planning.suite import expand_name
    from harmbench.registry import split_names
    from harmbench.runner import head_benchmark

    if not metrics:
        return head_benchmark.every_distance()
    addresses: list[str] = []
    for name in split_names(metrics):
        addresses += expand_name("metrics", name)
    return [DISTANCES.parse(address) for address in dict.fromkeys(addresses)]
