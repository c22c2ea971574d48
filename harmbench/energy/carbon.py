"""Joules -> CO2, when reporting: energy x PUE x grid intensity of a stated region.

Intensities are annual averages that CodeCarbon ships, of countries and of the zones it knows inside some: states of
the USA (`US-CA`), provinces of Canada (`CA-QC`) and China (`CN-BJ`), bidding zones of Sweden and Norway (`SE1`,
`NO2`). None is guessed from the network.
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
from harmbench.results.records import Record

JOULES_PER_KWH = 3.6e6
WORLD = "world"
GRAMS_PER_KWH_OF_A_POUND_PER_MWH = 0.45359237
_PROVINCES = {  # ISO 3166-2
    "alberta": "AB",
    "british columbia": "BC",
    "manitoba": "MB",
    "new brunswick": "NB",
    "newfoundland and labrador": "NL",
    "northwest territories": "NT",
    "nova scotia": "NS",
    "nunavut": "NU",
    "ontario": "ON",
    "prince edward island": "PE",
    "quebec": "QC",
    "saskatchewan": "SK",
    "yukon": "YT",
}


class Grid(Record):
    """Carbon intensity of the electricity grid of a region.

    Attributes:
        region: ISO 3166 code of a country (three letters) or of a zone in it, `world`, or `given`.
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
        region: three-letter ISO code of a country, code of a zone (`US-CA`, `CA-QC`, `CN-BJ`, `SE1`), or `world` (the
            default when nobody names a region).
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
    code, regions = region.upper(), _regions()
    if code not in regions:
        near = difflib.get_close_matches(code, regions, n=3, cutoff=0.5)
        guess = f"; did you mean {', '.join(near)}?" if near else "."
        raise RegionError(
            f"unknown region '{region}'{guess} Use a three-letter ISO country code, a zone (US-CA, CA-QC, CN-BJ, SE1), "
            "`world`, or --intensity"
        )
    name, value, source = regions[code]
    return Grid(
        region=code,
        name=name,
        intensity=_of_province(value) if isinstance(value, str) else value,
        source=f"{source}, through CodeCarbon",
        pue=pue,
    )


def regions() -> dict[str, str]:
    """Code and name of every region that `grid` takes, but for `world`.

    >>> regions()["FRA"], regions()["US-CA"]
    ('France', 'California, United States')
    """
    return {code: name for code, (name, _, _) in _regions().items()}


@cache
def _regions() -> dict[str, tuple[str, float | str, str]]:
    """Code -> name, gCO2e/kWh (or the Canadian province that is still to be worked out), source with its year."""
    regions: dict[str, tuple[str, float | str, str]] = {}
    for code, country in _data("global_energy_mix.json").items():
        regions[code] = (country["country_name"], country["carbon_intensity"], f"annual average {country['year']}")
    states = _data("usa_emissions.json")
    of_states = f"EPA eGRID {states['_source']['year']}"
    for name, state in states.items():
        if not name.startswith("_") and name != "usa":
            grams = state["emissions"] * GRAMS_PER_KWH_OF_A_POUND_PER_MWH
            regions[f"US-{state['regionCode'].upper()}"] = (f"{_title(name)}, United States", grams, of_states)
    for name in _data("canada_energy_mix.json"):
        # CodeCarbon counts what burns; water, wind, sun and uranium are 0 there.
        source = "fossil part of the provincial mix"
        regions[f"CA-{_PROVINCES[name]}"] = (f"{_title(name)}, Canada", name, source)
    for code, zone in _data("china_provincial_emissions.json")["data"].items():
        source = f"CO2 alone, official provincial factor {zone['year']}"
        regions[code] = (f"{zone['description']}, China", zone["emission_factor"], source)
    for code, zone in _data("nordic_emissions.json")["data"].items():
        if code[-1].isdigit():  # Finland is one zone: FIN
            regions[code] = (zone["description"], zone["emission_factor"], f"generation mix {zone['year']}")
    return regions


def _title(name: str) -> str:
    return name.title().replace(" Of ", " of ").replace(" And ", " and ")


def _of_province(name: str) -> float:
    """gCO2e/kWh of a Canadian province, which CodeCarbon works out from its mix."""
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    place = GeoMetadata(country_iso_code="CAN", region=name)
    engine = Emissions(DataSource())  # type: ignore[no-untyped-call]
    return 1000 * float(engine.get_region_emissions(Energy.from_energy(kWh=1), place))


@cache
def _data(name: str) -> dict[str, Any]:
    """One of CodeCarbon's data files, read without importing CodeCarbon."""
    spec = importlib.util.find_spec("codecarbon")
    if spec is None or spec.origin is None:
        raise RegionError("codecarbon is not installed; `pip install codecarbon`, or give --intensity")
    folder = Path(spec.origin).parent / "data" / "private_infra"
    paths = sorted(folder.rglob(name))  # those of states and provinces lie in folders named by their year
    if not paths:
        raise RegionError(f"this CodeCarbon ships no {name}; `pip install 'codecarbon>=3.3.2'`, or give --intensity")
    data: dict[str, Any] = json.loads(paths[-1].read_text())
    return data
