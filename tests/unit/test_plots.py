"""Plots, over every registered one: drawn from real small runs and from runs that lack what they show."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import itertools
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix
from typer.testing import CliRunner

from harmbench.cli import app
from harmbench.datasets import DATASETS, Splits
from harmbench.errors import OptionError
from harmbench.meters import HeldOut
from harmbench.meters.pixel_weights import near_zero_shares
from harmbench.planning import environment, plan
from harmbench.planning import suite as suites
from harmbench.planning.suite import expand_name
from harmbench.report import figures, files
from harmbench.report.charts import (
    Dots,
    Images,
    Line,
    LinePanel,
    Lines,
    Matrix,
    Plane,
    Radar,
    Tradeoff,
    limits_of_shares,
)
from harmbench.report.charts._style import look
from harmbench.report.formats import Figure
from harmbench.report.plots import PLOTS, Plot, for_report
from harmbench.report.plots._base import cells_by_condition
from harmbench.report.plots.embedding import components
from harmbench.results import artifacts, store
from harmbench.results.records import COMPONENTS, EnergyOrigin, Measurement, TrialRecord
from harmbench.results.store import RunData
from harmbench.runner.run import header
from tests.support.commands import HANGS_AFTER
from tests.support.paths import DATA, ROOT
from tests.support.samples import job_of, record, spec
from tests.support.training import run_one

EVERY = [pytest.param(plot, id=plot.name) for plot in PLOTS.every_variant()]
CONTENT = {
    "name": "small",
    "datasets": ["digits[scaling=unit]", "modular_addition[p=5]", "modular_addition[p=5,train_fraction=0.5]"],
    "backbones": ["pixels", "token_mlp"],
    "metrics": ["euclidean"],
    "losses": ["cross_entropy", "harmonic"],
    "seeds": 2,
    "protocol": {"steps": 60, "lr": 0.02, "evaluations": 3, "analysis_samples": 100, "warmup_steps": 0},
    "meters": ["quality", "gradient_stability", "throughput", "representation", "pixel_weights"],
    "artifacts": ["embedding", "class_weights", "confusion", "features", "spectrum"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """A real run of twelve short trials, with all artifacts."""
    folder = tmp_path_factory.mktemp("plots") / "run"
    planned = plan.expand(suites.check(CONTENT, {}, "small"), "cpu", environment.result_versions())
    threads = torch.get_num_threads()
    try:
        with store.RunStore.open(folder, planned.key, header(planned)) as opened:
            for order, trial in enumerate(planned.trials):
                opened.append(
                    run_one(
                        job_of(
                            trial,
                            order=order,
                            energy_origins=dict.fromkeys(COMPONENTS, EnergyOrigin(method="missing")),
                            artifacts=planned.suite.artifacts,
                            folder=str(folder),
                        ),
                    )
                )
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    return store.read(folder)


def read_as_text(run: RunData) -> RunData:
    """The run, as if its answers were tokens of a text."""
    perplexity, bits = (Measurement.of(f"test_{name}", 7.0, unit, "lower") for name, unit in TEXT.items())
    trials = tuple(
        t.but(measurements=(*t.measurements, perplexity, bits), sizes=t.sizes | {"test_tokens": 100})
        for t in run.trials
    )
    return run.model_copy(update={"trials": trials})


TEXT = {"perplexity": "1", "bits_per_byte": "bit/B"}


def drawn(figure: Figure, kind: str = "svg") -> bytes:
    buffer = io.BytesIO()
    figures.draw(figure, buffer, kind)
    return buffer.getvalue()


def numbers(figure: Figure, label: str) -> list[str]:
    table = figure.table()
    place = [column.label for column in table.columns].index(label)
    return [row[place] for row in table.rows]


# Every plot.


@pytest.mark.slow
@pytest.mark.parametrize("plot", EVERY)
def test_every_plot_draws_a_real_run_with_its_data_beside_it(plot: Plot, run: RunData) -> None:
    run = read_as_text(run) if plot.name == "perplexity" else run
    assert plot.applies(run) is None
    found = plot.figures(run)
    assert found
    assert len({figure.name for figure in found}) == len(found)
    for figure in found:
        assert re.fullmatch(r"[\w.-]+", figure.name)
        assert figure.caption.endswith(".")
        table = figure.table()
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert drawn(figure).startswith(b"<?xml")


def without_files(run: RunData) -> RunData:
    return run.model_copy(update={"folder": f"{run.folder}/nowhere"})


def crippled(run: RunData) -> RunData:
    """No measurements and no curves, as if every meter had failed."""
    return run.model_copy(
        update={"trials": tuple(trial.but(measurements=(), curves=(), curve=()) for trial in run.trials)}
    )


DEGENERATE = {
    "one seed": lambda run: run.model_copy(update={"trials": tuple(t for t in run.trials if t.spec.seed == 0)}),
    "no baseline": lambda run: run.model_copy(update={"trials": tuple(t for t in run.trials if t.spec.distance)}),
    "no files": without_files,
    "no measurements": crippled,
    "nothing yet": lambda run: run.model_copy(update={"trials": ()}),
    "diverged": lambda run: run.model_copy(
        update={"trials": tuple(record(trial.spec, "diverged" if trial.spec.seed else "ok") for trial in run.trials)}
    ),
}


@pytest.mark.parametrize("change", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("plot", EVERY)
def test_every_plot_copes_with_what_is_missing(plot: Plot, change, run: RunData) -> None:
    poor = change(run)
    reason = plot.applies(poor)
    if reason is not None:
        assert reason
        assert "\n" not in reason
        return
    for figure in plot.figures(poor):
        assert figure.table().rows
        drawn(figure)


def test_a_trial_without_its_file_is_named(run: RunData, tmp_path: Path) -> None:
    for trial in run.trials:
        if trial.spec.seed == 0 or trial.spec.distance:
            artifacts.save(tmp_path, trial.id, artifacts.load(Path(run.folder), trial.id))
    poor = run.model_copy(update={"folder": str(tmp_path)})
    (confusion, *_) = PLOTS.parse("confusion").figures(poor)
    assert "Without kept confusion matrices: linear at seed 1." in confusion.caption


# What is drawn is what was measured.


def test_class_weights_are_those_of_the_head(run: RunData) -> None:
    (figure,) = PLOTS.parse("class_weights[seed=1]").figures(run)
    assert isinstance(figure, Images)
    linear = next(t for t in run.trials if t.spec.seed == 1 and t.spec.backbone == "pixels" and not t.spec.distance)
    (strip,) = (strip for strip in figure.strips if strip.head == "linear")
    assert np.array_equal(
        np.array(strip.images, np.float32), artifacts.load(Path(run.folder), linear.id)["class_weights"]
    )
    assert [len(text.split()) for text in numbers(figure, "pixels (channel, row, column)")] == [64] * 20


def test_a_confusion_matrix_counts_every_test_sample_of_all_seeds(run: RunData) -> None:
    (figure, *_) = PLOTS.parse("confusion").figures(run)
    assert isinstance(figure, Matrix)
    (panel,) = (panel for panel in figure.panels if panel.head == "euclidean")
    trials = [t for t in run.trials if t.spec.backbone == "pixels" and t.spec.distance]
    counts = np.array(panel.counts)
    assert counts.sum() == sum(trial.sizes["test"] for trial in trials)
    right = sum((trial.value("test_accuracy") or 0) * trial.sizes["test"] for trial in trials)
    assert counts.trace() == pytest.approx(right)
    assert sum(map(int, numbers(figure, "samples"))) == sum(np.array(p.counts).sum() for p in figure.panels)


def test_embeddings_lie_on_the_components_that_scikit_learn_finds(run: RunData) -> None:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(9, 4)).astype(np.float32)
    points, share = components(table, first=2)
    pca = PCA().fit(table.astype(np.float64))
    assert np.abs(points) == pytest.approx(np.abs(pca.transform(table.astype(np.float64))[:, 1:3]))
    assert share == pytest.approx(pca.explained_variance_ratio_[1:3].sum())
    figure = PLOTS.parse("embedding").figures(run)[0]
    assert isinstance(figure, Plane)
    assert [spot.label for spot in figure.panels[0].spots] == list("01234")


@pytest.mark.parametrize("table", [np.zeros((3, 4)), np.ones((5, 1)), np.zeros((1, 1))], ids=str)
def test_an_embedding_without_variance_has_a_place_all_the_same(table: np.ndarray) -> None:
    points, share = components(table.astype(np.float32), first=1)
    assert points.shape == (len(table), 2)
    assert np.isfinite(points).all()
    assert share == 0


def test_the_front_is_what_no_sound_head_beats_in_both() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(40, 2)) + 5
    trials = tuple(
        record(
            spec(f"minkowski[p={i + 2}]", backbone="mlp"),
            accuracy=float(quality) / 10,
            phases=(record().phases[0].but(seconds=float(cost)),),
        )
        for i, (cost, quality) in enumerate(values)
    )
    content = {"datasets": ["digits"], "backbones": ["mlp"]}
    made_up = RunData(folder="x", header={"suite": content}, trials=trials, environments={}, unreadable_lines=0)
    (figure,) = PLOTS.parse("pareto[cost=seconds]").figures(made_up)
    assert isinstance(figure, Tradeoff)
    expected = {
        i
        for i, (c, q) in enumerate(values)
        if not any((c2 <= c and q2 > q) or (c2 < c and q2 >= q) for c2, q2 in values)
    }
    assert {mark.head for mark in figure.panels[0].front} == {f"minkowski[p={i + 2}]" for i in expected}
    assert numbers(figure, "front").count("on it") == len(expected)


def test_dots_and_lines_hold_every_seed(run: RunData) -> None:
    (accuracy,) = PLOTS.parse("accuracy").figures(run)
    assert isinstance(accuracy, Dots)
    values = sorted(value for panel in accuracy.panels for dot in panel.dots for value in dot.values)
    assert values == pytest.approx(sorted(100 * (trial.value("test_accuracy") or 0) for trial in run.trials))
    curves = PLOTS.parse("learning_curves").figures(run)
    assert sum(len(f.panels) for f in curves if isinstance(f, Lines)) == 6
    assert sum(len(f.table().rows) for f in curves) >= sum(len(trial.curve) for trial in run.trials)
    (efficiency,) = PLOTS.parse("data_efficiency").figures(run)
    assert isinstance(efficiency, Lines)
    assert {line.x for panel in efficiency.panels for line in panel.lines} == {(0.5, 1.0)}


def test_a_radar_ranks_from_the_worst_to_the_best_sound_head(run: RunData) -> None:
    chart, *in_units = PLOTS.parse("radar").figures(run)
    assert isinstance(chart, Radar)
    assert len(in_units) == len(chart.panels)
    for panel in chart.panels:
        for spokes in zip(*(line.spokes for line in panel.lines), strict=True):
            scores = [spoke.score for spoke in spokes if spoke.score is not None]
            assert max(scores) == pytest.approx(10)
            assert all(0 <= score <= 10 for score in scores)


# Looks, files, commands.


def test_every_head_has_a_look_of_its_own() -> None:
    heads = ["linear", *expand_name("metrics", "all")]
    looks = [look(head, "harmonic") for head in heads]
    assert len({(each.color, each.marker) for each in looks}) == len(heads)
    losses = ("harmonic", "distance_softmax", "cosine_softmax")
    assert all(
        look(head, one)[2:] != look(head, other)[2:]
        for head in heads
        for one, other in itertools.combinations(losses, 2)
    )


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_written_by_its_suffix_the_same_each_time(
    kind: str, start: bytes, run: RunData, tmp_path: Path
) -> None:
    (figure,) = PLOTS.parse("accuracy").figures(run)
    figures.draw(figure, tmp_path / f"a.{kind}")
    content = (tmp_path / f"a.{kind}").read_bytes()
    assert content.startswith(start)
    assert content == drawn(figure, kind)
    with pytest.raises(OptionError, match="one of svg, png, pdf"):
        figures.draw(figure, tmp_path / "a.gif")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["md", "html", "latex"])
def test_a_large_report_is_drawn_beside_and_comes_out_the_same(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own from so many trials on."""
    runs = [str(ROOT / "reports" / f"example-{name}") for name in ("pixels", "grokking")]
    asked = ["report", *runs, "--format", form, "--out"]
    beside = []
    begin = figures.Drawer.begin
    monkeypatch.setattr(figures.Drawer, "begin", lambda self, f: beside.append(self._pool) or begin(self, f))
    for many, folder in ((10**9, tmp_path / "within"), (1, tmp_path / "beside")):
        monkeypatch.setattr(files, "LARGE", many)
        folder.mkdir()
        result = CliRunner().invoke(app, [*asked, str(folder / "report")])
        assert result.exit_code == 0, result.output
    assert len({pool is None for pool in beside}) == 2, "one of the reports was drawn in another way than meant"
    names = sorted(path.name for path in (tmp_path / "within").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "beside").iterdir())
    for name in names:
        assert (tmp_path / "within" / name).read_bytes() == (tmp_path / "beside" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere, the one that draws is no copy")
def test_the_one_that_draws_is_a_copy_made_before_there_are_threads(tmp_path: Path) -> None:
    """By the real command; and what it draws is the same."""
    code = (
        "import sys; from harmbench.cli import main; from harmbench.energy import carbon\n"
        "large, sys.argv[1:], grid = int(sys.argv[1]), sys.argv[2:], carbon.grid\n"
        "def patched(*options):\n"  # the command has set its environment, and loaded what draws, by then
        "    from harmbench.report import figures, files\n"
        "    alone, files.LARGE = figures._is_alone, large\n"
        "    figures._is_alone = lambda: print('one thread:', alone()) or alone()\n"
        "    return grid(*options)\n"
        "carbon.grid = patched\n"
        "main()\n"
    )
    drawn = {}
    for many, said in ((1, "one thread: True"), (10**9, "")):
        folder = tmp_path / str(many)
        folder.mkdir()
        asked = [
            "report",
            str(ROOT / "reports" / "example-pixels"),
            "--format",
            "md",
            "--out",
            str(folder / "report.md"),
        ]
        ended = subprocess.run([sys.executable, "-c", code, str(many), *asked], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.partition("\n")[0].startswith(said or "harmbench")
        drawn[many] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert drawn[1] == drawn[10**9]


def test_the_process_that_draws_leaves_interrupts_alone_and_outlives_nobody() -> None:
    code = (
        "import os, signal, sys; from harmbench.report import figures\n"
        "with figures.Drawer('svg', in_process=True) as drawer:\n"
        "    child = drawer._pool.submit(os.getpid).result()\n"
        "    os.kill(child, signal.SIGINT)\n"
        "    print(child, drawer._pool.submit(os.getpid).result(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **piped) as parent:
        assert parent.stdout
        before, after = map(int, parent.stdout.readline().split())
        assert before == after, "Ctrl-C ended it"
        drawing = psutil.Process(before)
        parent.kill()
    until = time.monotonic() + HANGS_AFTER
    with contextlib.suppress(psutil.NoSuchProcess):
        while drawing.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, "it is still there"
            time.sleep(0.05)


def test_the_process_that_draws_looks_for_no_garbage() -> None:
    with figures.Drawer("svg", in_process=True) as drawer:
        assert drawer._pool
        assert not drawer._pool.submit(gc.isenabled).result()


def test_svg_has_text_and_no_place_finer_than_one_sees(run: RunData) -> None:
    (figure,) = PLOTS.parse("accuracy").figures(run)
    text = drawn(figure, "svg").decode()
    assert ">test accuracy (%)</text>" in text
    assert "sans-serif" in text
    assert not re.search(r'="[^":;]*\.\d{3}', text)


@pytest.mark.parametrize(("values", "low"), [((0.0, 99.0), -3), ((40.0, 99.0), -3), ((90.0, 99.0), 89.0)])
def test_shares_well_above_zero_fill_their_panel(values: tuple[float, ...], low: float) -> None:
    line = Line(head="linear", loss="cross_entropy", what="seed 0", x=(1.0, 2.0), y=values)
    found = limits_of_shares([LinePanel(title="", lines=(line,))])
    assert found[0] == low
    assert 100 < found[1] <= 103


def test_plot_draws_what_applies_and_says_why_not_the_rest(run: RunData, tmp_path: Path) -> None:
    arguments = ["plot", run.folder, "--kind", "class_weights,accuracy", "--format", "png", "--out", str(tmp_path)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    with Image.open(tmp_path / "class_weights.png") as image:
        assert image.width > 500
    rows = list(csv.reader((tmp_path / "accuracy.csv").read_text().splitlines()))
    assert len(rows) == 1 + 6
    refused = CliRunner().invoke(app, ["plot", run.folder, "--kind", "pareto[cost=joules]"])
    assert refused.exit_code
    assert "no head has both" in str(refused.exception)


def test_a_report_shows_the_chosen_kinds_in_their_order(run: RunData) -> None:
    names = [figure.name for figure in for_report(run)]
    assert names[:2] == ["accuracy", "pareto"]
    assert not any(name.startswith(("confusion", "spectrum")) for name in names)


# What plots are drawn from.


def test_a_report_of_very_many_places_shows_the_first_and_says_so(
    run: RunData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("Only the first" in figure.caption for figure in for_report(run))
    monkeypatch.setattr("harmbench.report.plots.MOST_CONDITIONS", 0)
    monkeypatch.setattr("harmbench.report.plots.FIRST_CONDITIONS", 1)
    conditions = len(cells_by_condition(run))
    found = {figure.name: figure for figure in for_report(run)}
    assert len(found["accuracy"].panels) == 1  # type: ignore[attr-defined]
    note = f"Only the first 1 of {conditions} conditions; `harmbench plot` draws all."
    assert found["accuracy"].caption.endswith(note)


def test_artifacts_are_whole_or_not_there(tmp_path: Path) -> None:
    arrays = {"confusion": np.eye(3, dtype=np.int32), "token_labels": np.array(["a", "bc"])}
    artifacts.save(tmp_path, "0" * 12, arrays)
    found = artifacts.load(tmp_path, "0" * 12)
    assert {name: found[name].tolist() for name in found} == {name: a.tolist() for name, a in arrays.items()}
    path = tmp_path / "artifacts" / f"{'0' * 12}.npz"
    path.write_bytes(path.read_bytes()[:40])
    assert artifacts.load(tmp_path, "0" * 12) == {}
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        artifacts.save(tmp_path, "1" * 12, {"bad": np.array([{}])})
    artifacts.save(tmp_path, "2" * 12, {"large": np.zeros(artifacts.MAX_BYTES // 8 + 1), "small": np.zeros(3)})
    assert sorted(artifacts.load(tmp_path, "2" * 12)) == ["left_out", "small"]
    assert not list(tmp_path.rglob("*.partial"))


def test_artifacts_change_no_trial() -> None:
    plain, asking = (suites.check({**CONTENT, "artifacts": kept}, {}, "small") for kept in ([], ["confusion"]))
    versions = environment.result_versions()
    assert plan.expand(plain, "cpu", versions).key == plan.expand(asking, "cpu", versions).key


def test_a_kept_confusion_matrix_is_scikit_learns(run: RunData) -> None:
    from harmbench.runner.collect import _confusion

    logits, targets = torch.randn(50, 4), torch.randint(4, (50,))
    expected = confusion_matrix(targets, logits.argmax(1), labels=range(4))
    assert _confusion(logits, targets).tolist() == expected.tolist()


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 32, 32), (1, 28, 20), (1, 2, 2)])
def test_near_zero_shares_count_pixels_at_the_border(size: tuple[int, int, int]) -> None:
    channels, height, width = size
    weights = torch.randn(10, channels * height * width).double() * 0.02
    examined = HeldOut(torch.empty(0), torch.empty(0), torch.empty(0), weights, has_centers=True, image_shape=size)
    images, wide = weights.reshape(10, *size).numpy(), max(1, min(height, width) // 8)
    border = [
        abs(images[k, c, i, j]) < 0.01
        for k, c, i, j in itertools.product(range(10), *map(range, size))
        if min(i, j, height - 1 - i, width - 1 - j) < wide
    ]
    total, at_border = near_zero_shares(examined, 0.01)
    assert total == pytest.approx((np.abs(images) < 0.01).mean())
    assert at_border == pytest.approx(np.mean(border))


def test_the_head_reads_pixels_only_right_on_them(run: RunData) -> None:
    by_backbone = {trial.spec.backbone: trial for trial in run.trials}
    assert by_backbone["pixels"].value("near_zero_border_share") is not None
    missing = next(m for m in by_backbone["token_mlp"].measurements if m.name == "near_zero_border_share")
    assert "does not read pixels" in missing.reason


def test_digits_of_unit_scaling_are_the_same_digits() -> None:
    unit, standard = (DATASETS.parse(f"digits[scaling={s}]").load(DATA, False, 0) for s in ("unit", "standard"))
    assert (unit.train_inputs.min(), unit.train_inputs.max()) == (0, 1)
    scale = standard.train_inputs.std(correction=0) / unit.train_inputs.std(correction=0)
    for part in ("train_inputs", "validation_inputs", "test_inputs"):
        centered = getattr(unit, part) - unit.train_inputs.mean()
        assert torch.allclose(getattr(standard, part), centered * scale, atol=1e-5)


@pytest.mark.parametrize(
    "address", ["lattice", "modular_addition", "equivalence", "greater_than", "family_tree", "permutation"]
)
def test_every_token_has_a_label_and_links_join_tokens(address: str) -> None:
    task = DATASETS.parse(address)
    splits: Splits = task.load(DATA, False, 0)
    labels, shades, links = task.labels(), task.shades(), task.links()
    assert len(labels) == len(set(labels)) == len(shades) == splits.num_classes
    assert all(0 <= one < splits.num_classes and 0 <= other < splits.num_classes for one, other in links)
    assert {"lattice": 40, "family_tree": 126}.get(address, 0) == len(links)
    assert all(map(math.isfinite, shades))


def test_a_diverged_trial_keeps_nothing(run: RunData) -> None:
    lost: TrialRecord = record(run.trials[0].spec.but(seed=9), "diverged")
    assert artifacts.load(Path(run.folder), lost.id) == {}


# Text.


def test_a_report_of_text_has_curves_of_loss_and_one_of_images_has_not(run: RunData) -> None:
    names = [figure.name.partition("-")[0] for figure in for_report(run)]
    assert "learning_curves" in names
    assert not {"loss_curves", "perplexity"} & set(names)
    names = [figure.name.partition("-")[0] for figure in for_report(read_as_text(run))]
    assert {"loss_curves", "perplexity"} <= set(names)
    assert not {"learning_curves", "accuracy"} & set(names)


def test_loss_curves_are_those_of_the_record(run: RunData) -> None:
    figure = PLOTS.parse("loss_curves").figures(run)[0]
    panel = next(panel for panel in figure.panels if panel.lines[0].stroke == "plain")
    trial = next(t for t in run.trials if t.spec.is_baseline and t.spec.seed == 0 and t.spec.backbone in figure.caption)
    line = next(line for line in panel.lines if line.what == "validation, seed 0")
    assert line.y == tuple(point.validation_nll for point in trial.curve)


def test_cka_is_that_of_the_kept_features(run: RunData) -> None:
    (figure,) = PLOTS.parse("cka").figures(run)  # the tasks' test parts are too small
    heads, seeds = figure.panels
    kept = {
        (t.spec.head, t.spec.seed): artifacts.load(Path(run.folder), t.id)["features"]
        for t in run.trials
        if t.spec.backbone == "pixels"
    }
    assert heads.dots[0].values == pytest.approx([1.0, 1.0]), "pixels are the same whatever the head"
    assert kept["linear", 0].shape == (100, 64)
    assert seeds.dots[0].mean == pytest.approx(1.0)
    assert heads.reference == seeds.dots[0].mean
