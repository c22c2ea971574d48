"""Write docs/reference/commands-and-components.md from command line, registry, protocol and error tree.

    python docs/generate.py            write it
    python docs/generate.py --check    exit 1 if it is stale

Only harmbench's own components appear. Installed plug-ins do not.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic.fields import FieldInfo

from harmbench import errors
from harmbench.cli import app
from harmbench.cli._rooms import addresses, rooms
from harmbench.planning.suite import Claim, Exclusion, SuiteSpec, load, shipped
from harmbench.registry import Component
from harmbench.results.records import Protocol

TARGET = Path(__file__).resolve().parent / "reference" / "commands-and-components.md"
_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_HEADLINES = {
    "metrics": "Distances (metrics)",
    "losses": "Losses",
    "backbones": "Backbones",
    "datasets": "Data sets",
    "meters": "Meters",
    "formats": "Formats",
    "plots": "Plots",
    "executors": "Executors",
}


def reference() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "# Commands and components",
        "",
        "<!-- Written by docs/generate.py from the code; `make docs` writes it again. Edits here are lost. -->",
        "",
        "Every command, component, protocol field and error of harmbench. [Words](words.md) defines the terms,",
        "[measures](measures.md) the measures.",
        "",
        "- [Commands](#commands)",
    )
    members = rooms()
    names = [_HEADLINES[word] for word in _HEADLINES if word in members]
    yield from (f"- [{name}](#{slug(name)})" for name in (*names, "Suites", "Protocol", "Errors"))
    yield from _commands()
    for word, headline in _HEADLINES.items():
        yield from ("", f"## {headline}")
        for cls in members[word].members.values():
            if cls.__module__.startswith("harmbench."):
                yield from _component(cls)
    yield from _suites()
    yield from ("", "## Protocol", "", *_prose(Protocol), "", *_fields(Protocol))
    yield from _errors()


def slug(headline: str) -> str:
    """The anchor that GitHub makes of a headline."""
    return re.sub(r"[^\w\- ]", "", headline.lower()).replace(" ", "-")


# --- commands --------------------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    yield from ("", "## Commands", "", f"{root.help}", "")
    yield (
        "Exit codes: 0 done, 1 a trial failed, a gate was missed or something broke, 2 usage, 3 `run --budget` left "
        "trials, 130 stopped by Ctrl-C."
    )
    yield from ("", *_parameters(root))
    for name, command in root.commands.items():
        words = [_argument(p) for p in command.params if _is_argument(p)]
        words += ["[OPTIONS]"] if len(words) < len(command.params) else []
        yield from ("", f"### harmbench {name}", "", "```", " ".join(["harmbench", name, *words]), "```", "")
        text, _, example = inspect.cleandoc(command.help or "").partition("\n\nExample: ")
        yield text
        if example:
            yield from ("", "```sh", example.strip(), "```")
        yield from ("", *_parameters(command))


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _argument(parameter: Any) -> str:
    word = (parameter.metavar or parameter.name.upper()).strip("[]")
    return word if parameter.required else f"[{word}]"


def _parameters(command: Any) -> Iterator[str]:
    rows = [_parameter_row(p) for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    if rows:
        yield from _table(("argument or option", "default", "what it does"), rows)


def _parameter_row(parameter: Any) -> tuple[str, str, str]:
    default = parameter.default
    shown = "" if default in (None, False) or parameter.required else f"`{default}`"
    notes = [_escape(parameter.help or "")]
    if getattr(parameter, "multiple", False):
        notes.append("May be repeated.")
    if getattr(parameter, "envvar", None):
        notes.append(f"Environment variable `{parameter.envvar}`.")
    name = _argument(parameter).strip("[]") if _is_argument(parameter) else ", ".join(parameter.opts)
    return f"`{name}`", shown, " ".join(notes)


# --- components ------------------------------------------------------------------------------------------------


def _component(cls: type[Component]) -> Iterator[str]:
    yield from ("", f"### {cls.name}", "", *_prose(cls), "")
    yield "Addresses: " + ", ".join(f"`{address}`" for address in addresses(cls)) + "."
    facts = _facts(cls)
    if facts:
        yield from ("", *facts)
    options = {name: field for name, field in cls.model_fields.items() if name != cls.argument}
    if options:
        readers = getattr(cls, "read_by", {})
        rows = [
            (f"`{name}`", f"`{_default(field)}`", _values(field), _note(readers.get(name), field))
            for name, field in options.items()
        ]
        yield from ("", *_table(("option", "default", "values", "note"), rows))


def _facts(cls: Any) -> list[str]:
    if hasattr(cls, "facts"):
        distances = [cls.from_options(variant) for variant in cls.variants]
        header = ("variant", "metric", "symmetric", "scale invariant", "domain")
        yes = {True: "yes", False: "no"}
        rows = [(f"`{d}`", yes[d.facts[0]], yes[d.facts[1]], yes[d.facts[2]], d.facts[3]) for d in distances]
        in_papers = [f"`{d}`" for d in distances if d.is_in_papers]
        which = "" if len(in_papers) == len(distances) else ": " + ", ".join(in_papers)
        return [*_table(header, rows), *(["", f"In the set `paper`{which}."] if in_papers else [])]
    if hasattr(cls, "reads"):
        where = ", ".join(f"`{name}`" for name in cls.distances)
        return [f"Reads {cls.reads}" + (f", of {where} only." if where else ".")]
    if hasattr(cls, "place"):
        return ["In reports." if cls.place else "Not in reports; `harmbench plot` draws it."]
    if hasattr(cls, "suffix"):
        return [f"File suffix: `{cls.suffix}`."]
    return []


def _note(reader: str | None, field: FieldInfo) -> str:
    return ". ".join(filter(None, (field.description, f"read by `variant={reader}` only" if reader else "")))


def _default(field: FieldInfo) -> str:
    value = field.default
    return "-".join(map(str, value)) if isinstance(value, tuple) else _text(value)


def _values(field: FieldInfo) -> str:
    bounds = " and ".join(
        f"{sign} {getattr(limit, name)}" for limit in field.metadata for name, sign in _BOUNDS if hasattr(limit, name)
    )
    return " ".join(filter(None, (_kind(field.annotation), bounds)))


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(part) for part in parts if part is not type(None))
    if origin is tuple:
        return {int: "whole numbers joined by `-`", str: "list of names"}.get(parts[0], "list")
    words = {float: "number", int: "whole number", bool: "`true`, `false`", str: "text"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


# --- suites, protocol, errors ----------------------------------------------------------------------------------


def _suites() -> Iterator[str]:
    yield from ("", "## Suites", "", "A suite file is YAML with these fields.", "", *_fields(SuiteSpec), "")
    yield from ("An entry of `exclude` has these fields. A pattern may contain `*`.", "", *_fields(Exclusion), "")
    yield from (
        "An entry of `claims` has these fields. [State claims](../how-to/state-claims.md#rules) has the rules.",
        "",
        *_fields(Claim),
        "",
    )
    yield from ("Shipped suites:", "")
    rows = [(f"`{name}`", load(name).question, load(name).cost) for name in shipped()]
    yield from _table(("suite", "question", "cost"), rows)


def _fields(record: Any) -> Iterator[str]:
    rows = []
    for name, field in record.model_fields.items():
        default = "required" if field.is_required() else _field_default(field.default)
        rows.append((f"`{name}`", default, _values(field), field.description or ""))
    yield from _table(("field", "default", "values", "what it is"), rows)


def _field_default(value: Any) -> str:
    if value in (None, "", ()):
        return ""
    return f"`{', '.join(value)}`" if isinstance(value, tuple) else f"`{_text(value)}`"


def _text(value: Any) -> str:
    """A value as a suite or an address writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _errors() -> Iterator[str]:
    yield from ("", "## Errors", "")
    yield "These are the errors that harmbench raises on purpose. The command line prints the message on one line and"
    yield "ends with code 2 for a `UsageError` and 1 for any other. `--debug` shows the traceback."
    yield ""
    yield from _tree(errors.HarmbenchError, 0)


def _tree(error: type[BaseException], depth: int) -> Iterator[str]:
    yield f"{'  ' * depth}- `{error.__name__}`: {inspect.cleandoc(error.__doc__ or '').splitlines()[0]}"
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


# --- Markdown --------------------------------------------------------------------------------------------------


def _prose(documented: Any) -> Iterator[str]:
    """A docstring as Markdown: its session as a block, and its indented lines too."""
    text, _, session = (inspect.getdoc(documented) or "").partition("\n>>> ")
    paragraphs = text.rstrip().split("\n\n")
    for paragraph in paragraphs:
        is_block = paragraph.startswith("    ")
        yield from ("```", *textwrap.dedent(paragraph).splitlines(), "```") if is_block else paragraph.splitlines()
        yield from () if paragraph is paragraphs[-1] else ("",)
    if session:
        yield from ("", "```pycon", f">>> {session.rstrip()}", "```")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    yield from ("| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows)


def _escape(text: str) -> str:
    return text.replace("\\|", "|").replace("|", "\\|").replace("\n", " ")


def main(arguments: list[str]) -> int:
    """Write the page. With `--check`, return 1 if it is stale."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    text = reference()
    if not arguments:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{TARGET.name} is stale. Run `make docs`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
