"""Docs: commands and code blocks run, every component and measure is documented, links resolve."""

from __future__ import annotations

import csv
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
import typer
from typer.testing import CliRunner

from harmbench.cli import app
from harmbench.cli._rooms import rooms
from harmbench.planning import environment, plan, suite
from harmbench.results import store
from harmbench.results.records import COMPONENTS, EnergyOrigin, EnergyReading, Protocol, TrialRecord
from harmbench.runner.run import header
from harmbench.runner.trial import SilentLink, TrialJob
from tests.support.paths import ROOT
from tests.support.training import run_one

DOCS = sorted((ROOT / "docs").rglob("*.md"))
REFERENCE = ROOT / "docs" / "reference" / "commands-and-components.md"
MEASURES = ROOT / "docs" / "reference" / "measures.md"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "reports" / "README.md",
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *DOCS,
]
CHEAP = {"ls", "show", "plan", "validate"}
RUN = "reports/first"  # the run folder in the docs' examples, made below

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match["language"] in languages:
            yield Block(page, text.count("\n", 0, match.start()) + 2, match["language"], match["text"])


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of each harmbench command in a shell block."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";&|<>()"):
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] == "harmbench":
                yield words[1:]
            words = [">"] if set(word) & set("<>") else []  # a file name is no command


COMMANDS = {
    (str(block), " ".join(arguments)): arguments
    for page in PAGES
    for block in blocks(page, "sh", "console", "bash")
    for arguments in commands(block.text)
}
PYTHON = [block for page in PAGES for block in blocks(page, "python")]


# --- the folder in which the docs' examples run ------------------------------------------------------------------


class _Meter(SilentLink):
    """A joule of each component at each reading."""

    def __init__(self) -> None:
        self._joules = 0.0

    def read_energy(self) -> EnergyReading:
        self._joules += 1
        return EnergyReading(joules=dict.fromkeys(COMPONENTS, self._joules))


@pytest.fixture(scope="module")
def docs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the suites that the docs write out, and a run of two short trials."""
    folder = tmp_path_factory.mktemp("docs")
    for block in (block for page in PAGES for block in blocks(page, "yaml")):
        name = re.match(r"# (\S+\.yaml)\n", block.text)
        if name:
            (folder / name[1]).write_text(block.text)
    machine = environment.capture()
    spec = suite.load("smoke", {"backbones": "mlp", "metrics": "euclidean", "losses": "cross_entropy,harmonic"})
    protocol, meters = (
        Protocol(steps=12, evaluations=2, grad_clip=1.0),
        (*spec.meters, "grokking", "structure", "pixel_weights"),
    )
    short = spec.model_copy(update={"protocol": protocol, "meters": meters})
    planned = plan.expand(short, "cpu", environment.result_versions())
    with store.RunStore.open(folder / RUN, planned.key, header(planned)) as run:
        run.append_environment(machine)
        for order in range(len(planned.trials)):
            run.append(_trial(planned, order, machine["id"]))
    return folder


@pytest.fixture(scope="module")
def text_trial(tmp_path_factory: pytest.TempPathFactory) -> TrialRecord:
    """A short trial of a language model on these docs, a document for each headline."""
    pytest.importorskip("transformers")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    folder = tmp_path_factory.mktemp("text")
    for number, section in enumerate("".join(page.read_text(encoding="utf-8") for page in DOCS).split("\n#")):
        (folder / f"{number}.txt").write_text(section, encoding="utf-8")
    content = {
        "name": "text",
        "datasets": [f"text:{folder}[vocabulary=300,length=16,held_out=8]"],
        "backbones": ["gpt2"],
        "losses": ["cross_entropy"],
        "protocol": {"steps": 2, "batch_size": 2, "evaluations": 1, "analysis_samples": 16, "warmup_steps": 0},
        "meters": ["perplexity", "throughput", "energy", "embedding", "analogies"],
    }
    try:
        planned = plan.expand(suite.check(content, {}, "text"), "cpu", environment.result_versions())
        return _trial(planned, 0, "here")
    finally:
        patch.undo()


def _trial(planned: plan.Plan, order: int, environment_id: str) -> TrialRecord:
    origin = EnergyOrigin(method="model", scope="machine", detail="one joule a reading")
    threads = torch.get_num_threads()
    try:
        return run_one(
            TrialJob(
                spec=planned.trials[order],
                order=order,
                device="cpu",
                environment=environment_id,
                data_dir="data",
                download=False,
                energy_origins=dict.fromkeys(COMPONENTS, origin),
            ),
            _Meter(),
        )
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def folder_with_report(docs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as the current one, with the report that the docs read."""
    monkeypatch.chdir(docs_folder)
    if not (docs_folder / RUN / "report.csv").exists():
        run_command(["report", RUN, "--format", "csv"])
    return docs_folder


def run_command(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, arguments)
    message = result.output + (f"{type(result.exception).__name__}: {result.exception}" if result.exception else "")
    assert result.exit_code == 0, f"harmbench {' '.join(arguments)}: {message}"
    return result.output


# --- commands and code -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=map(" ".join, COMMANDS))
def test_every_command_parses(arguments: list[str]) -> None:
    parse(arguments)


def parse(arguments: list[str]) -> None:
    """Resolve command and options without running anything."""
    root: Any = typer.main.get_command(app)
    if {"-h", "--help", "--version"} & set(arguments):
        return
    context = root.make_context("harmbench", list(arguments))
    name, command, rest = root.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["run", "smoke", "--metric", "cosine"], "No such option"), (["runs", "smoke"], "No such command")],
)
def test_a_wrong_command_does_not_parse(arguments: list[str], message: str) -> None:
    with pytest.raises(Exception, match=message):
        parse(arguments)


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=map(" ".join, COMMANDS))
def test_every_cheap_command_runs(arguments: list[str], folder_with_report: Path) -> None:
    if arguments and arguments[0] == "run":
        run_command([*arguments, "--dry-run"])
    elif is_cheap(arguments):
        run_command(arguments)


def is_cheap(arguments: list[str]) -> bool:
    if arguments[:1] == ["report"]:  # of the run made here, not of a reader's own
        return not any(argument.startswith("reports/") and argument != RUN for argument in arguments)
    if arguments[:1] in (["claims"], ["compare"], ["plot"]):
        return RUN in arguments
    if "--estimate" in arguments:
        return False
    return bool(arguments) and (arguments[0] in CHEAP or arguments[-1] in {"-h", "--help", "--version"})


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_every_python_block_runs(block: Block, folder_with_report: Path) -> None:
    module = ModuleType("block")
    sys.modules["block"] = module
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other where tests run side by side
    try:
        exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec", dont_inherit=True), vars(module))
    finally:
        del sys.modules["block"]
        torch.set_num_threads(threads)


# --- completeness ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_fresh(generator: ModuleType) -> None:
    assert REFERENCE.read_text(encoding="utf-8") == generator.reference(), "run `make docs`"


def test_the_generator_says_that_the_reference_is_stale(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generator, "TARGET", tmp_path / "reference.md")
    assert generator.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    assert generator.main(["--chekc"]) == 2


def test_every_component_is_in_the_reference() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    names = [
        c.name for room in rooms().values() for c in room.members.values() if c.__module__.startswith("harmbench.")
    ]
    assert [name for name in names if f"\n### {name}\n" not in text] == []


def test_every_command_and_protocol_field_is_explained_by_hand() -> None:
    handwritten = "\n".join(page.read_text(encoding="utf-8") for page in DOCS if page != REFERENCE)
    root: Any = typer.main.get_command(app)
    assert [name for name in root.commands if f"harmbench {name}" not in handwritten] == []
    assert [field for field in Protocol.model_fields if not re.search(rf"`{field}\b", handwritten)] == []


def test_every_measure_is_defined_with_its_unit(folder_with_report: Path, text_trial: TrialRecord) -> None:
    with (folder_with_report / RUN / "report.csv").open(newline="") as file:
        measured = {row["measure"]: row["unit"] for row in csv.DictReader(file)}
    measured |= {measurement.name: measurement.unit for measurement in text_trial.measurements}
    lines = MEASURES.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| `")]
    defined = {name: row[1].strip() for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert defined == measured


def test_every_test_that_is_named_exists() -> None:
    named = {match for page in DOCS for match in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text("utf-8"))}
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if f"\ndef {name}(" not in (ROOT / file).read_text("utf-8")]
    assert missing == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != REFERENCE], ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`((?:harmbench|tests|benchmarks|suites)/[\w/.-]*)`", page.read_text(encoding="utf-8"))
    to_be_written = {"harmbench/nn/distances/lorentzian.py"}  # by the reader, in the example
    assert [name for name in named if name not in to_be_written and not (ROOT / name).exists()] == []


def test_every_page_that_code_and_suites_name_exists() -> None:
    files = [*(ROOT / "harmbench").rglob("*.py"), *(ROOT / "suites").rglob("*.yaml")]
    named = {match for file in files for match in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8"))}
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- links -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path, generator: ModuleType) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    missing = []
    for target in (match["target"] for match in _LINK.finditer(text)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file, generator)):
            missing.append(target)
    assert missing == []


def anchors(page: Path, generator: ModuleType) -> set[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {generator.slug(headline) for headline in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
