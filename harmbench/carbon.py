"""Joules -> CO2, when reporting: energy x PUE x grid intensity of a stated region.

Intensities are annual averages that CodeCarbon ships; none is guessed from the network.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field

from harmbench.errors import RegionError
from harmbench.records import Record

JOULES_PER_KWH = 3.6e6
WORLD = "world"


class Grid(Record):
    """Where the electricity comes from, as far as CO2 goes.

    Attributes:
        region: ISO 3166 code of three letters, `world`, or `given`.
        name: in words.
        intensity: gCO2e/kWh.
        source: of the intensity, with its year.
        pue: power usage effectiveness of the building, at least 1.
    """

    region: str
    name: str
    intensity: float = Field(ge=0)
    source: str
    pue: float = 1.0

    def grams(self, joules: float) -> float:
        """gCO2e of an amount of energy.

        >>> Grid(region="given", name="", intensity=475, source="", pue=1.2).grams(3.6e6)
        570.0
        """
        return joules / JOULES_PER_KWH * self.pue * self.intensity

    def __str__(self) -> str:
        return f"{self.name}, {self.intensity:g} gCO2e/kWh ({self.source}), PUE {self.pue:g}"


def grid(region: str = WORLD, pue: float = 1.0, intensity: float | None = None) -> Grid:
    """The grid of a region.

    Args:
        region: three-letter ISO code, or `world` (the default when nobody names a region).
        pue: at least 1.
        intensity: gCO2e/kWh, in place of the region's.

    Raises:
        RegionError: for an unknown region, or a pue or intensity out of range.
    """
    if not 1 <= pue < math.inf:
        raise RegionError(f"--pue must be at least 1 (1 is no overhead), got {pue:g}")
    if intensity is not None:
        if not 0 <= intensity < math.inf:
            raise RegionError(f"--intensity must be at least 0 gCO2e/kWh, got {intensity:g}")
        return Grid(region="given", name="given intensity", intensity=intensity, source="given", pue=pue)
    if region.lower() == WORLD:
        world = _data("carbon_intensity_per_source.json")["world_average"]
        return Grid(region=WORLD, name="world average", intensity=world, source="IEA 2019, through CodeCarbon", pue=pue)
    countries = _data("global_energy_mix.json")
    code = region.upper()
    if code not in countries:
        near = difflib.get_close_matches(code, countries, n=3, cutoff=0.5)
        guess = f"; did you mean {', '.join(near)}?" if near else "."
        raise RegionError(
            f"unknown region '{region}'{guess} Use a three-letter ISO country code, `world`, or --intensity"
        )
    country = countries[code]
    source = f"annual average {country['year']}, through CodeCarbon"
    return Grid(
        region=code, name=country["country_name"], intensity=country["carbon_intensity"], source=source, pue=pue
    )


@cache
def _data(name: str) -> dict[str, Any]:
    """One of CodeCarbon's data files, read without importing CodeCarbon."""
    spec = importlib.util.find_spec("codecarbon")
    if spec is None or spec.origin is None:
        raise RegionError("codecarbon is not installed; `pip install codecarbon`, or give --intensity")
    path = Path(spec.origin).parent / "data" / "private_infra" / name
    data: dict[str, Any] = json.loads(path.read_text())
    return data
