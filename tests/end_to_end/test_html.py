"""The HTML report: well-formed, closed to what stands in names, readable as it is, and at work in a real browser."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harmbench.cli import app
from harmbench.report import figures
from harmbench.report.formats import FORMATS, Column, Report, Section, Table
from harmbench.report.formats.html._plots import inline
from harmbench.report.formats.html._tables import number, verdict_key
from harmbench.report.formats.html._verdicts import decided, tally
from tests.support.browser import CHROMIUM, NO_CHROMIUM, Browser
from tests.support.paths import ROOT
from tests.support.runs import DECIDED, RUNS, composed

VOID = {"meta", "input", "wbr", "link", "br", "img", "hr"}
HOSTILE = (
    "<script>alert(1)</script>",
    "</style><b>",
    "</script>",
    "\"'><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&amp;&#60;",
    "<!--",
    "]]>",
)


class Page(HTMLParser):
    """A page as a list of elements; refuses one that is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            self.inside[self._open[-1]] = self.inside.get(self._open[-1], "") + data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:50]}")

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """Elements and the names of their attributes, whatever texts they hold."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    def values(self, *names: str) -> Iterator[str]:
        return (attributes[name] for _, attributes in self.elements for name in names if name in attributes)


def rendered(report: Report) -> str:
    return FORMATS.parse("html").render(figures.drawn(report))


def named(names: tuple[str, ...]) -> Report:
    """A report with these texts wherever one from a run can stand."""
    report = composed()
    places = tuple(Column(label=name, unit=name, numeric=i % 2 == 1) for i, name in enumerate(names))
    table = Table(title=names[0], caption=names[1], columns=places, rows=(names, names))
    judged = Table(
        title=names[2],
        columns=(Column(label="verdict", numeric=False), Column(label="claim", numeric=False)),
        rows=(("supported", names[0]), ("refuted", names[1]), (names[2], names[3])),
    )
    compared = Table(
        title=names[3],
        columns=(Column(label="head", numeric=False), Column(label="verdict", numeric=False)),
        rows=((names[0], "better"), (names[3], f"not decided ({names[4]})"), (names[5], "worse")),
    )
    plot = report.figures[0].model_copy(update={"name": names[2], "caption": names[3]})
    return report.model_copy(
        update={
            "title": names[0],
            "subtitle": names[1],
            "summary": (*names, *(f"**{name}**: {name}" for name in names)),
            "figures": (plot,),
            "sections": tuple(Section(title=name, tables=(table, judged, compared)) for name in names),
            "notes": names,
            "environment": tuple((name, name) for name in names),
        }
    )


# --- the page as text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_every_run_gives_a_well_formed_page_with_links_that_lead_somewhere(run):
    page = Page(rendered(composed(run)))
    ids = list(page.values("id"))
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    targets = {href[1:] for href in page.values("href") if href.startswith("#")}
    labels = {name for value in page.values("aria-labelledby", "for") for name in value.split()}
    assert (targets | labels) - set(ids) == set()


@pytest.mark.parametrize("text", ["<p><b></p></b>", "<p>", "</p>", '<p id="a" id="b"></p>'])
def test_what_is_not_well_formed_is_caught(text):
    with pytest.raises(AssertionError):
        Page(text)


def test_names_cannot_change_the_page():
    hostile, tame = Page(rendered(named(HOSTILE))), Page(rendered(named(tuple("abcdefgh"))))
    assert hostile.shape == tame.shape
    assert hostile.inside == tame.inside
    for name in HOSTILE:
        assert name in hostile.text


def test_a_page_that_does_not_escape_is_caught():
    text = rendered(named(tuple(f"<em>{name}</em>" for name in "abcdefgh")))
    assert Page(text).shape == Page(rendered(named(tuple("abcdefgh")))).shape
    unescaped = text.replace("&lt;em&gt;", "<em>").replace("&lt;/em&gt;", "</em>")
    assert Page(unescaped).shape != Page(text).shape


def test_nothing_is_loaded_and_nothing_foreign_runs():
    page = Page(rendered(composed()))
    assert {tag for tag, _ in page.elements} & {"link", "img", "iframe", "object", "base", "form"} == set()
    assert {href for href in page.values("href", "src") if not href.startswith("#")} == set()
    assert not [name for tag, attributes in page.elements for name in attributes if name.startswith("on")]
    assert list(page.values("style")) == []
    assert "@import" not in page.inside["style"]
    assert "url(" not in page.inside["style"]


def test_the_policy_admits_the_style_and_the_script_of_this_page_only():
    page = Page(rendered(composed()))
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    digests = {
        kind: "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for kind, text in page.inside.items()
    }
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "style-src": digests["style"],
        "script-src": digests["script"],
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_every_cell_is_there_without_the_script():
    report = composed()
    text = " ".join(Page(rendered(report)).text.split())
    cells = {c for section in report.sections for table in section.tables for row in table.rows for c in row}
    flat = re.sub(r"\W+", "", text)
    missing = [cell for cell in cells if re.sub(r"\W+", "", cell) not in flat]
    assert missing == []


def test_columns_without_any_value_are_named_and_left_out():
    text = rendered(composed())
    assert re.search(r"Without any value, and not shown: [^<]*GPU energy \(J, missing\)", text)
    assert not re.search(r"<th[^>]*><span>GPU energy", text)


def test_the_summary_shows_what_is_decided_and_nothing_else():
    text = rendered(composed())
    found = re.search(r'aria-labelledby="decided--table-1".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert found
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in found[1].strip().splitlines()]
    assert {row[2]: row[1] for row in rows} == DECIDED
    tile = Page(re.search(r'<div class="tile">.*?</div>', text, re.DOTALL)[0]).text.split()
    assert " ".join(tile).startswith("1 better 1 worse 4 not decided 1 n/a of 7 comparisons")


def test_claims_of_which_none_is_decided_are_counted_as_claims():
    columns = (Column(label="verdict", numeric=False), Column(label="claim", numeric=False))
    table = Table(title="Claims", columns=columns, rows=(("not decided", "a"), ("not decided", "b")))
    assert [(share.verdict, share.number) for share in tally([table]).shares] == [
        ("supported", 0),
        ("refuted", 0),
        ("not decided", 2),
    ]


def test_decided_rows_of_unlike_tables_are_all_there():
    report = composed()
    section = report.sections[0]
    table = section.tables[0]
    unlike = table.model_copy(
        update={"columns": (*table.columns[:2], Column(label="loss of test"), *table.columns[3:])}
    )
    other = Section(title="elsewhere", tables=(unlike,))
    found = decided([section, other])
    assert [sorted(row[0] for row in table.rows) for table in found] == [["better", "worse"]] * 2


@pytest.mark.parametrize("run", [pytest.param(r, id=i) for i, r in RUNS.items() if i != "whole"])
def test_no_chip_says_better_without_a_decision(run):
    assert not re.search(r'class="chip (good|bad)"', rendered(composed(run)))


# --- on the command line ---------------------------------------------------------------------------------------

EXAMPLE = str(ROOT / "reports" / "example-vision")


@pytest.mark.parametrize(("is_there", "said"), [(True, ""), (False, "No browser was found here")])
def test_the_page_is_shown_in_the_browser_on_demand(tmp_path, monkeypatch, is_there, said):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda url: shown.append(url) or is_there)
    path = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", EXAMPLE, "--format", "html", "--open", "--out", str(path)])
    assert (result.exit_code, shown) == (0, [path.as_uri()])
    assert said in result.output
    assert path.read_text(encoding="utf-8").count("<svg") > path.read_text(encoding="utf-8").count('<svg class="bar"')


def test_what_is_written_to_the_terminal_is_not_opened():
    result = CliRunner().invoke(app, ["report", EXAMPLE, "--format", "html", "--open", "--out", "-"])
    assert "--open needs a file" in str(result.exception)


# --- sorting ---------------------------------------------------------------------------------------------------

KEYS = {
    "43,104 ± 7,083": 43104.0,
    "**98.2 ± 1.1**": 98.2,
    "-0.46 ± 0.40": -0.46,
    "+1.39 [0.2, 3] points": 1.39,
    "1e-05": 1e-5,
    "< 0.001": 0.001,
    "32 (3/3)": 32.0,
    "- (0/3)": None,
    "n/a": None,
    "": None,
    "2nd": None,
}


@pytest.mark.parametrize(("text", "key"), KEYS.items())
def test_cells_are_sorted_by_their_number(text, key):
    assert number(text) == key


def test_verdicts_are_sorted_by_what_they_say():
    order = ["better", "not decided (5 seeds would)", "not decided (11 seeds would)", "worse", "baseline"]
    assert sorted(order, key=verdict_key) == order
    assert len({verdict_key(text) for text in order}) == len(order)


# --- plots and colors --------------------------------------------------------------------------------------


def test_a_plot_keeps_nothing_that_runs_loads_or_clashes():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">'
        "<style>*{fill:red}</style><script>alert(1)</script><foreignObject/>"
        '<clipPath id="c"/><g id="a" onclick="alert(1)" style="fill: #000000; clip-path: url(#c)"/>'
        "<text>&lt;script&gt;</text>"
        '<use xlink:href="#a"/><image href="http://x/y.png"/><image href="data:image/png;base64,AA=="/></svg>'
    )
    page = Page(str(inline(svg, "P1", "label")))
    assert [tag for tag, _ in page.elements] == ["svg", "clippath", "g", "text", "use", "image", "image"]
    assert page.elements[1][1]["id"] == "P1-0"
    assert page.elements[2][1] == {"id": "P1-1", "fill": "currentColor", "clip-path": "url(#P1-0)"}
    assert "".join(page.texts) == "<script>"
    assert [a.get("href") for _, a in page.elements[4:]] == ["#P1-1", None, "data:image/png;base64,AA=="]


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_level_aa(theme):
    css = files("harmbench.report.formats.html").joinpath("page.css").read_text(encoding="utf-8")
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme]))
    pairs = [(ink, paper) for ink in ("ink", "quiet", "link", "good", "bad", "open") for paper in ("surface", "raised")]
    pairs += [(look, f"{look}-soft") for look in ("good", "bad", "open")]
    weak = {pair: ratio for pair in pairs if (ratio := contrast(colors[pair[0]], colors[pair[1]])) < 4.5}
    assert weak == {}


# --- in a browser ----------------------------------------------------------------------------------------------

in_browser = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
TABLE = "document.querySelector('#mlp-on-digits table.data')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = tmp_path_factory.mktemp("html") / "report.html"
    path.write_text(rendered(composed()), encoding="utf-8")
    with Browser() as found:
        found.open(path.as_uri())
        yield found
        assert found.complaints() == []
        assert found.requests() == [path.as_uri()]


def column(browser: Browser, index: int) -> list[str]:
    cells = f"[...{TABLE}.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[{index}].textContent)"
    found: list[str] = browser.run(cells)
    return found


def sort_by(browser: Browser, index: int) -> str:
    browser.run(f"{TABLE}.tHead.rows[0].cells[{index}].querySelector('button').focus()")
    browser.press("Enter", "\r")
    order: str = browser.run(f"{TABLE}.tHead.rows[0].cells[{index}].ariaSort")
    return order


@in_browser
def test_a_table_is_sorted_by_keyboard(browser):
    written = column(browser, 2)
    known = sorted(float(text.split()[0]) for text in written if text != "n/a")
    none = ["n/a"] * written.count("n/a")
    assert none
    assert sort_by(browser, 2) == "ascending"
    assert [float(text.split()[0]) for text in column(browser, 2) if text != "n/a"] == known
    assert column(browser, 2)[-len(none) :] == none
    assert sort_by(browser, 2) == "descending"
    assert [float(text.split()[0]) for text in column(browser, 2) if text != "n/a"] == known[::-1]
    assert column(browser, 2)[-len(none) :] == none
    assert sort_by(browser, 2) == "none"
    assert column(browser, 2) == written


@in_browser
def test_only_one_column_is_sorted_at_a_time(browser):
    assert (sort_by(browser, 2), sort_by(browser, 0)) == ("ascending", "ascending")
    assert browser.run(f"[...{TABLE}.tHead.rows[0].cells].filter(c => c.ariaSort != 'none').length") == 1
    assert column(browser, 0) == sorted(column(browser, 0))
    assert (sort_by(browser, 0), sort_by(browser, 0)) == ("descending", "none")


@in_browser
def test_rows_are_filtered_by_all_words(browser):
    every = column(browser, 0)
    browser.run("document.getElementById('filter').focus()")
    browser.type("minkowski DECIDED")
    assert column(browser, 0) == ["minkowski[p=1.5]"]
    assert re.fullmatch(r"\d+ of \d+ rows", browser.run("document.querySelector('.tools output').textContent"))
    browser.press("Escape")
    assert column(browser, 0) == every


@in_browser
def test_everything_opens_and_folds_again(browser):
    def are_open() -> int:
        count: int = browser.run("document.querySelectorAll('main details[open]').length")
        return count

    folded = are_open()
    browser.run("document.getElementById('fold').click()")
    assert are_open() == browser.run("document.querySelectorAll('main details').length") > folded
    browser.run("document.getElementById('fold').click()")
    assert are_open() == folded


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_only_tables_and_plots_scroll_sideways(browser, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    assert browser.run("document.documentElement.scrollWidth") <= width


@in_browser
def test_errors_and_requests_are_caught(tmp_path: Path):
    path = tmp_path / "wrong.html"
    path.write_text("<!doctype html><img src='http://127.0.0.1:9/x.png'><script>console.error(1); gone()</script>")
    with Browser() as found:
        found.open(path.as_uri())
        assert len(found.complaints()) >= 2
        assert found.requests() == [path.as_uri(), "http://127.0.0.1:9/x.png"]
