"""The contract of a format, and of the report that formats show: it claims nothing that its numbers do not bear out."""

from __future__ import annotations

import io
import json
import re

import pandas
import pytest
from scipy import stats as scipy_stats

from harmbench import report as reports
from harmbench.energy.carbon import grid
from harmbench.report.formats import FORMATS, Report, Section, Table
from harmbench.results.records import SCHEMA_VERSION, MachineState, Measurement, TrialRecord
from harmbench.results.store import RunData
from tests.support.runs import DECIDED, MORE_RIGHT, RUN, RUNS, composed, run_of, table_report
from tests.support.samples import COUNTED, record, spec

EVERY = [pytest.param(form, id=form.name) for form in FORMATS.every_variant()]


def rendered(form: str, report: Report) -> str:
    return FORMATS.parse(form).render(report)


def main_table(report: Report) -> pandas.DataFrame:
    table = report.sections[0].tables[0]
    return pandas.DataFrame(table.rows, columns=[column.label for column in table.columns])


# Every format.


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("form", EVERY)
def test_every_format_renders_every_run(form, run):
    report = composed(run)
    text = form.render(report)
    assert text.endswith("\n")
    assert form.suffix == {"latex": ".tex"}.get(form.name, f".{form.name}")
    assert form.render(composed(run)) == text


# Markdown.


def cells_of(line: str) -> list[str]:
    """Cells of a row as GitHub splits it: a backslash takes the next character's meaning."""
    return [re.sub(r"\\(.)", r"\1", c).strip() for c in re.findall(r"((?:\\.|[^|\\])*)\|", line.strip())[1:]]


def tables_of(text: str) -> list[list[str]]:
    blocks = re.split(r"\n(?!\|)", text)
    return [[line for line in block.split("\n") if line.startswith("|")] for block in blocks if "\n|" in f"\n{block}"]


def is_well_formed(text: str) -> None:
    for table in tables_of(text):
        counts = [len(cells_of(line)) for line in table]
        assert len(set(counts)) == 1, f"rows of {sorted(set(counts))} cells"
        assert all(line.endswith("|") for line in table), "a row is broken"
        assert re.fullmatch(r"\|(-+:?\|)+", table[1]), "no line under the header"


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_markdown_tables_are_well_formed(run):
    is_well_formed(rendered("md", composed(run)))


AWKWARD = ["a|b", "a\\|b", "two\nlines", "carriage\r\nreturn", "ends in \\", "", "***"]


def test_markdown_keeps_awkward_cells_whole():
    text = rendered("md", table_report(AWKWARD))
    is_well_formed(text)
    found = [cells_of(line)[0] for line in tables_of(text)[0][2:]]
    assert found == [" ".join(text.split("\r\n" if "\r" in text else "\n")) for text in AWKWARD]


def test_a_table_that_does_not_escape_is_caught():
    text = rendered("md", table_report(["a~b"])).replace("~", "|")
    with pytest.raises(AssertionError, match=r"rows of \[2, 3\] cells"):
        is_well_formed(text)


def test_markdown_says_what_happened_to_every_head():
    text = rendered("md", composed())
    for words in ("Which?", "2 ok, 1 diverged: loss nan at step 7", "3 failed: ValueError: a \\| b c", "too slow"):
        assert words in text
    assert "1 unreadable line(s) of the results were skipped" in text


# CSV and JSON.


def raw_rows(run: RunData) -> list[tuple[str, str, float | None, str]]:
    rows = [(t.id, m.name, m.value, m.unit) for t in run.trials for m in t.measurements]
    return rows + [(t.id, "", None, "") for t in run.trials if not t.measurements]


def test_csv_has_a_row_for_each_trial_and_measure_raw_and_with_its_unit():
    frame = pandas.read_csv(io.StringIO(rendered("csv", composed())), dtype=str, keep_default_na=False)
    values = [float(text) if text else None for text in frame["value"]]
    found = list(zip(frame["trial"], frame["measure"], values, frame["unit"], strict=True))
    assert sorted(map(repr, (row for row in found if not row[1].endswith("_co2")))) == sorted(map(repr, raw_rows(RUN)))
    assert len({row[:2] for row in found}) == len(found)


def test_csv_says_where_and_how_each_value_came_about():
    frame = pandas.read_csv(io.StringIO(rendered("csv", composed())))
    assert set(frame.loc[frame["measure"] == "cpu_joules", "origin"]) == {"modelled"}
    assert set(frame.loc[frame["measure"] == "gpu_joules", "note"]) == {"no GPU takes part"}
    assert set(frame.loc[frame["measure"] == "cpu_co2", "origin"]) == {"derived"}
    assert set(frame["seed"]) == {0, 1, 2}
    assert frame.groupby("trial")["status"].nunique().max() == 1


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_json_is_strict_and_holds_the_whole_report(run):
    report = composed(run)
    found = json.loads(rendered("json", report), parse_constant=refuse)
    assert found.pop("schema_version") == SCHEMA_VERSION
    figures = found.pop("figures")
    assert [Table.model_validate(figure["table"]) for figure in figures] == [f.table() for f in report.figures]
    assert Report.model_validate({**found, "figures": ()}) == report.model_copy(update={"figures": ()})


# What the report claims.


def test_verdicts_are_those_of_an_independent_test():
    p_values = {
        head: scipy_stats.ttest_1samp(more, 0).pvalue
        for head, more in MORE_RIGHT.items()
        if None not in more and "failed" not in more and len(set(more)) > 1
    }
    sure = {head for head, p in p_values.items() if p * 6 < 0.05}
    assert sure == set(DECIDED)
    table = main_table(composed())
    found = dict(zip(table["head"].str.strip("*"), table["verdict"], strict=True))
    assert {head: verdict for head, verdict in found.items() if verdict in {"better", "worse"}} == DECIDED
    assert found["linear"] == "baseline"
    assert found["chebyshev[variant=true]"] == "n/a"


def bold_heads(text: str) -> set[str]:
    rows = [line for table in tables_of(text) for line in table]
    return {word for line in rows for word in re.findall(r"\*\*(.+?)\*\*", cells_of(line)[0])}


@pytest.mark.parametrize("run", [pytest.param(r, id=i) for i, r in RUNS.items() if i != "whole"])
def test_nothing_is_bold_without_a_decision(run):
    assert bold_heads(rendered("md", composed(run))) == set()


def test_bold_is_what_is_decided_to_be_better_and_nothing_else():
    text = rendered("md", composed())
    assert bold_heads(text) == {"cosine"}
    bold_rows = {cells_of(line)[0] for table in tables_of(text) for line in table if "**" in line}
    assert bold_rows == {"**cosine**", "mlp on digits"}  # the second in the overview, where cosine is the highest mean


NOT_DECIDED = {
    "a gap of one image, three times": ("manhattan", "not decided"),
    "the highest mean, widely spread": ("euclidean", r"not decided \(\d+ seeds would\)"),
    "one of many": ("minkowski[p=1.5]", r"not decided \(\d+ seeds would\)"),
    "better where it did not diverge": ("mahalanobis[variant=full]", r"not decided \(1 ended badly\)"),
}


@pytest.mark.parametrize(("head", "verdict"), NOT_DECIDED.values(), ids=NOT_DECIDED)
def test_what_is_not_decided_says_so(head, verdict):
    table = main_table(composed())
    assert re.match(verdict, table.set_index("head").loc[head, "verdict"])


def test_the_summary_counts_what_it_has():
    report = composed()
    assert "**1 better, 1 worse, 5 not decided** (1 could not be made)." in report.summary[0]
    assert report.summary[1].startswith("24 of 24 planned trials have a result: 20 ended well, 1 diverged, 3 failed.")
    assert "Of 7 heads against the baseline: 1 better, 1 worse, 4 not decided, 1 n/a." in report.conclusions[0]


def test_the_overview_says_what_holds_at_what_cost_and_how_sure():
    (row,) = composed().overview.rows
    told = dict(zip([column.label for column in composed().overview.columns], row, strict=True))
    assert (told["condition"], told["heads"], told["relative energy"]) == (
        "mlp on digits",
        "1 / 1 / 5",
        "n/a",
    )  # joules: a model
    assert (told["best head"], told["verdict"]) == ("cosine + harmonic", "better")
    assert told["best mean"].startswith("**")
    assert float(told["MDE"].removesuffix(" pt")) > 0


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_overview_has_a_row_for_each_place_and_leads_every_page(run):
    report = composed(run)
    assert [row[0] for row in (report.overview.rows if report.overview else ())] == [
        section.title for section in report.sections if section.title.count(" on ") == 1
    ]
    for name in ("md", "html", "latex"):
        text = rendered(name, report)
        if report.overview and report.figures:
            assert text.index(report.overview.title) < text.index(report.figures[0].caption[:20])


def test_claims_lead_and_what_was_measured_follows():
    report = composed()
    judged = Section(title="Claims", tables=report.sections[0].tables, leads=True)
    told = report.model_copy(update={"sections": (*report.sections, judged)})
    text = rendered("md", told)
    assert text.index("## Claims") < text.index("## Figures") < text.index(f"## {report.sections[0].title}")


def test_a_diverged_trial_never_reached_the_target():
    table = main_table(composed()).set_index("head")
    assert table.loc["mahalanobis[variant=full]", "steps to target"] == "- (0/3)"


# Numbers as text.

SHOWN = {
    "two digits of the spread": ([0.97, 0.95, 0.99], "97.0 ± 5.0"),
    "no spread": ([0.1] * 3, "10"),
    "one value": ([1 / 3], "33.33"),
    "narrow": ([0.5, 0.50001], "50.0005 ± 0.0064"),
}


@pytest.mark.parametrize(("values", "text"), SHOWN.values(), ids=SHOWN)
def test_means_are_shown_as_their_spread_allows(values, text):
    found = [record(spec(None, "cross_entropy", seed), accuracy=value) for seed, value in enumerate(values)]
    assert main_table(composed(run_of(found)))["test accuracy"][0] == text


# Energy and CO2.


def test_modelled_energy_is_called_modelled():
    report = composed()
    units = {column.label: column.unit for column in report.sections[0].tables[0].columns}
    assert (units["CPU energy"], units["GPU energy"], units["RAM energy"]) == ("J, model", "J, missing", "J, model")
    assert any("**modelled, not measured**" in sentence for sentence in report.summary)
    assert any("Not measured here: gpu_joules (no GPU takes part)" in sentence for sentence in report.summary)
    assert set(main_table(report)["GPU energy"]) == {"n/a"}


def test_energy_of_a_counter_is_not_called_modelled():
    found = [trial.but(energy_origins=COUNTED) for trial in RUN.trials]
    assert not any("modelled, not measured" in sentence for sentence in composed(run_of(found)).summary)


def test_co2_is_missing_where_a_part_of_the_energy_is():
    trial = record(spec(None, "cross_entropy"), energy_origins=COUNTED)
    table = main_table(composed(run_of([trial])))
    assert (table["CPU energy"][0], table["CO2e FRA"][0]) == ("33.33", "n/a")


def test_co2_is_that_of_processor_and_accelerator():
    trial = record(spec(None, "cross_entropy"), energy_origins=COUNTED)
    gpu = Measurement.of("gpu_joules", 3600.0, "J", "lower")
    others = tuple(m for m in trial.measurements if m.name != "gpu_joules")
    counted = trial.but(measurements=(*others, gpu))
    report = reports.compose(run_of([counted]), grid(intensity=1000.0))
    assert main_table(report)["CO2e given"][0] == "1,009"  # mg: (3600 + 100 / 3) J at 1000 g/kWh


def without_co2(report: Report) -> dict:
    """A report less its CO2: columns, rows, and sentences that name it."""
    content = report.model_dump()
    for name in ("summary", "notes"):
        content[name] = [sentence for sentence in content[name] if "CO2e" not in sentence]
    content["measurements"] = [row for row in content["measurements"] if not row["measure"].endswith("_co2")]
    for table in (table for section in content["sections"] for table in section["tables"]):
        kept = [i for i, column in enumerate(table["columns"]) if not column["label"].startswith("CO2e")]
        table["columns"] = [table["columns"][i] for i in kept]
        table["rows"] = [[row[i] for i in kept] for row in table["rows"]]
    return content


def test_another_region_changes_co2_and_nothing_else():
    france, poland = composed(region="FRA"), composed(region="POL")
    assert without_co2(france) == without_co2(poland)
    assert france != poland


def test_co2_grows_with_the_intensity_of_the_region():
    ratio = grid("POL").intensity / grid("FRA").intensity
    rows = [[row for row in composed(region=r).measurements if row["measure"] == "cpu_co2"] for r in ("FRA", "POL")]
    assert len(rows[0]) == 20
    for france, poland in zip(*rows, strict=True):
        assert poland["value"] / france["value"] == pytest.approx(ratio)
        assert "France" in france["note"]
        assert france["unit"] == "gCO2e"


# What meters look at in a trained model, and how the machine was.


def watched(seed: int, collapsed: float, variance: float, **machine: float) -> TrialRecord:
    """A trial with representation and machine."""
    values = {"collapsed": collapsed, "pca_variance_1": variance, "gradient_norm_cv": 0.5, "gradient_spike_rate": 0.0}
    notes = {"gradient_norm_cv": "at 2 of every 9 steps", "gradient_spike_rate": "above 4 times the median of 7; more"}
    found = [Measurement.of(name, value, "1", "neither", notes.get(name, "")) for name, value in values.items()]
    state = {"before": 1.0, "after": 1.0, "load_average": 1.0, "busy_elsewhere": 0.0, "cores": 4, **machine}
    trial = record(spec(seed=seed), order=seed)
    measurements = (*trial.measurements, *found)
    return trial.but(measurements=measurements, machine=MachineState(**state))


def test_collapsed_trials_are_counted_and_left_out_of_the_representation():
    report = composed(run_of([watched(0, 0, 0.2), watched(1, 1, 0.9), watched(2, 0, 0.2)]))
    table = next(table for table in report.sections[0].tables if table.title == "Representation")
    labels = [column.label for column in table.columns]
    assert labels == ["head", "loss", "test accuracy", "collapsed", "variance on PC 1"]
    assert table.rows[0][2:] == ("95", "1/3", "20")
    assert any(note.startswith("Representation: ") for note in report.notes)


def test_a_cell_that_always_collapses_shows_no_representation():
    report = composed(run_of([watched(seed, 1, 0.9) for seed in range(3)]))
    table = next(table for table in report.sections[0].tables if table.title == "Representation")
    assert table.rows[0][3:] == ("3/3", "n/a")


def test_a_run_without_representation_has_no_table_of_it():
    assert all(table.title != "Representation" for section in composed().sections for table in section.tables)


def test_the_note_on_gradients_is_the_meters_own():
    (note,) = [note for note in composed(run_of([watched(0, 0, 0.2)])).notes if note.startswith("Gradient stability")]
    assert "read at 2 of every 9 steps." in note
    assert "Spike: a norm above 4 times the median of 7." in note


CAVEATS = {
    "steady": ({"after": 1.09}, ""),
    "slower at the end": ({"after": 1.5}, "around 1 of 5 trials"),
    "slower all along": ({"before": 2.0, "after": 2.0}, "at worst 2 times"),
    "quicker": ({"before": 0.5, "after": 0.5}, "at worst 2 times"),
    "much waits": ({"load_average": 4.6}, "1 of 5 trials shared the machine"),
    "others at work": ({"busy_elsewhere": 3.5}, "1 of 5 trials shared the machine"),
    "no load average": ({"load_average": None}, ""),
}


@pytest.mark.parametrize(("machine", "said"), CAVEATS.values(), ids=CAVEATS)
def test_a_machine_that_drifts_or_is_shared_is_a_caveat(machine, said):
    report = composed(run_of([watched(seed, 0, 0.2, **(machine if seed == 3 else {})) for seed in range(5)]))
    caveats = [line for line in report.summary if "machine was not steady" in line]
    assert len(caveats) == bool(said)
    assert said in "".join(caveats)
