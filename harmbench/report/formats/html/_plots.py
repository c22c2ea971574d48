"""Drawings as parts of the page: SVG without own styles, in the page's colors and font, with unique ids."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"metadata", "style", "script", "foreignObject", "title", "desc"}
_INHERITED = {"font-family", "version"}  # the page's own
_INK = {  # drawn for paper; the page may be dark
    "#000000": "currentColor",
    "#ffffff": "var(--surface)",
    "#b0b0b0": "var(--grid)",
}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline(svg: str, prefix: str, label: str) -> Markup:
    """Return an SVG file as an element of a page.

    Styles become attributes, since the page's security policy forbids inline styles. Elements that could load or run
    anything are removed.

    Args:
        svg: text of the file.
        prefix: prefix of its ids, unique on the page.
        label: id of the element that describes the plot.

    Raises:
        xml.etree.ElementTree.ParseError: for text that is no XML.
    """
    root = ElementTree.fromstring(svg)
    ids = _Ids(prefix)
    _clean(root, ids)
    root.attrib.pop("height", None)
    root.attrib.pop("width", None)
    root.set("role", "img")
    root.set("aria-labelledby", label)
    root.set("class", f"plot {_size(root)}")
    root.set("stroke-linejoin", "round")
    root.set("fill", "currentColor")  # SVG's own default is black
    ElementTree.register_namespace("", _SVG)
    text = ElementTree.tostring(root, encoding="unicode").replace(f' xmlns="{_SVG}"', "", 1)
    return Markup(re.sub(r"\s*\n\s*", " ", text))  # serialized from a tree that was cleaned


class _Ids:
    """New names for ids, in order of appearance."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._names = prefix, dict[str, str]()

    def __getitem__(self, name: str) -> str:
        return self._names.setdefault(name, f"{self._prefix}-{len(self._names)}")


def _clean(element: ElementTree.Element, ids: _Ids) -> None:
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    element.tail = None
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in _DROPPED:
            element.remove(child)
        else:
            _clean(child, ids)
    attributes = dict(element.attrib)
    attributes |= dict(_declarations(attributes.pop("style", "")))
    element.attrib.clear()
    for name, value in attributes.items():
        for kept, text in _attribute(name, value, ids):
            element.set(kept, text)


def _declarations(style: str) -> list[tuple[str, str]]:
    pairs = (declaration.partition(":") for declaration in style.split(";"))
    return [(name.strip(), value.strip()) for name, _, value in pairs if value]


def _attribute(name: str, value: str, ids: _Ids) -> list[tuple[str, str]]:
    """Return an attribute as the page allows it, or nothing if it is forbidden."""
    if name == "id":
        return [("id", ids[value])]
    if name in (_LINK, "href"):
        if value.startswith("#"):
            return [("href", "#" + ids[value[1:]])]
        return [("href", value)] if value.startswith("data:image/") else []
    if name in _INHERITED or name.startswith(("on", "{")):
        return []
    if name in ("fill", "stroke", "stop-color"):
        return [(name, _INK.get(value.lower(), _REFERENCE.sub(lambda m: f"url(#{ids[m[1]]})", value)))]
    return [(name, _REFERENCE.sub(lambda m: f"url(#{ids[m[1]]})", value))]


def _size(root: ElementTree.Element) -> str:
    """Return the style sheet's class for this width in points."""
    width = float((root.get("viewBox") or "0 0 600 400").split()[2])
    return next((name for name, limit in (("small", 330), ("medium", 560), ("large", 800)) if width <= limit), "wide")
