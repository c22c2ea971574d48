"""Make the committed examples under reports/ again, with their reports: `make examples`.

    python docs/examples.py                          run all suites, each into build/, and keep the results
    python docs/examples.py vision pixels=FOLDER     run one suite, keep a finished run of another

An interrupted run resumes. example-SUITE gets the packed records of a finished run, the arrays of plots if they are
small, and the md and html reports with their plots. An older example of the suite is replaced. README.md is written
too.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITES = {  # with options beyond their own settings
    "vision": ("--seeds", "10"),  # the suite's own three are a first look and decide little
    "algorithmic": (),
    "grokking": (),
    "pixels": (),
    "language": (),
}
COPIED = ("run.json", "environments.jsonl", "invocations.jsonl")
LARGEST = 7_000_000  # bytes of an example
LARGEST_ARRAYS = 2_000_000  # bytes of the arrays of its plots


def main(arguments: list[str]) -> int:
    """Make the named examples, or all."""
    for argument in arguments or SUITES:
        suite, _, folder = argument.partition("=")
        run = Path(folder) if folder else ROOT / "build" / f"example-{suite}"
        if not folder:
            _harmbench("run", suite, *SUITES[suite], "--out", str(run))
        keep(run, ROOT / "reports" / f"example-{suite}")
    subprocess.run([sys.executable, ROOT / "docs" / "readme.py"], check=True)
    return 0


def keep(run: Path, example: Path) -> None:
    """Make an example of a run.

    Raises:
        SystemExit: if it is too large to be committed.
    """
    shutil.rmtree(example, ignore_errors=True)
    example.mkdir(parents=True)
    for name in COPIED:
        if (run / name).exists():
            shutil.copy(run / name, example / name)
    packed = run / "trials.jsonl.gz"
    trials = gzip.decompress(packed.read_bytes()) if packed.exists() else b""
    trials += (run / "trials.jsonl").read_bytes() if (run / "trials.jsonl").exists() else b""
    (example / "trials.jsonl.gz").write_bytes(gzip.compress(trials, mtime=0))
    if (run / "artifacts").is_dir():
        shutil.copytree(run / "artifacts", example / "artifacts")
    for form in ("md", "html"):
        _harmbench("report", str(example), "--format", form)
    if _size(example / "artifacts") > LARGEST_ARRAYS:
        shutil.rmtree(example / "artifacts")
        sys.stdout.write(f"{example.name}: the arrays of its plots are too large to keep; the reports have them\n")
    size = _size(example)
    sys.stdout.write(f"{example.name}: {size / 1e6:.1f} MB\n")
    if size > LARGEST:
        raise SystemExit(f"{example}: {size / 1e6:.1f} MB are too much for an example")


def _size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _harmbench(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "harmbench", *arguments], check=True, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
