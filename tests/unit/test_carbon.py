"""CO2 from joules: by hand, and against CodeCarbon's own engine."""

from __future__ import annotations

import math

import pytest
from codecarbon.core.emissions import Emissions
from codecarbon.core.units import Energy
from codecarbon.external.geography import GeoMetadata
from codecarbon.input import DataSource

from harmbench.energy.carbon import JOULES_PER_KWH, Grid, grid, regions
from harmbench.errors import RegionError

COUNTRIES = DataSource().get_global_energy_mix_data()
BY_HAND = {
    "France": ("FRA", 1.0, 56.04),
    "France, a data center": ("FRA", 1.3, 72.852),
    "United States": ("USA", 1.0, 369.47),
    "Poland": ("POL", 1.3, 861.25),
    "world": ("world", 1.0, 475.0),
    "in small letters": ("fra", 1.0, 56.04),
}


def codecarbon_grams(region: str, kwh: float) -> float:
    """What CodeCarbon makes of an energy; an unknown country is the world to it."""
    engine = Emissions(DataSource())
    return 1000 * engine.get_country_emissions(Energy.from_energy(kWh=kwh), GeoMetadata(country_iso_code=region))


@pytest.mark.parametrize(("region", "pue", "grams_of_a_kwh"), BY_HAND.values(), ids=BY_HAND)
def test_grams_by_hand(region, pue, grams_of_a_kwh):
    # Figures of 2023; CodeCarbon brings them up to date now and then.
    assert grid(region, pue).grams(JOULES_PER_KWH) == pytest.approx(grams_of_a_kwh, rel=0.15)


@pytest.mark.parametrize("pue", [1.0, 1.3])
@pytest.mark.parametrize("joules", [0.0, 1.0, 5e7])
@pytest.mark.parametrize("region", ["FRA", "USA", "POL", "world"])
def test_grams_are_codecarbons(region, joules, pue):
    assert grid(region, pue).grams(joules) == pytest.approx(codecarbon_grams(region, pue * joules / 3.6e6), rel=1e-12)


def test_every_country_of_codecarbon_is_there():
    for code in COUNTRIES:
        assert grid(code).grams(JOULES_PER_KWH) == pytest.approx(codecarbon_grams(code, 1.0), rel=1e-12), code


ZONES = {
    "US-CA": ("USA", "california"),
    "US-DC": ("USA", "district of columbia"),
    "CA-QC": ("CAN", "quebec"),
    "CA-PE": ("CAN", "prince edward island"),
    "CN-NM": ("CHN", "Inner Mongolia"),
    "SE3": ("SWE", "SE3"),
    "NO4": ("NOR", "NO4"),
}


@pytest.mark.parametrize(("code", "place"), ZONES.items(), ids=ZONES)
def test_grams_of_zones_are_codecarbons(code, place):
    country, region = place
    engine = Emissions(DataSource())
    kilograms = engine.get_region_emissions(Energy.from_energy(kWh=1), GeoMetadata(country, region=region))
    assert grid(code).grams(JOULES_PER_KWH) == pytest.approx(1000 * kilograms, rel=1e-9)
    assert grid(code.lower(), pue=1.3).grams(JOULES_PER_KWH) == pytest.approx(1300 * kilograms, rel=1e-9)


def test_every_zone_has_an_intensity_and_a_source():
    zones = [code for code in regions() if len(code) != 3 or code[-1].isdigit()]
    assert len(zones) == 51 + 13 + 30 + 9
    for code in zones:
        found = grid(code)
        assert 0 <= found.intensity < 1500, code
        assert found.source.endswith("through CodeCarbon"), code


def no_overhead(joules: float, g: Grid) -> float:
    return joules / JOULES_PER_KWH * g.intensity


def watt_hours(joules: float, g: Grid) -> float:
    return joules / 3600 * g.pue * g.intensity


@pytest.mark.parametrize("wrong", [no_overhead, watt_hours])
def test_wrong_arithmetic_is_caught(wrong):
    with pytest.raises(AssertionError, match="comparison failed"):
        assert wrong(1e6, grid("POL", 1.3)) == pytest.approx(codecarbon_grams("POL", 1.3e6 / 3.6e6), rel=1e-12)


def test_a_given_intensity_wins_over_the_region():
    found = grid("FRA", 1.2, intensity=100.0)
    assert found.grams(JOULES_PER_KWH) == pytest.approx(120.0)
    assert str(found) == "given intensity, 100 gCO2e/kWh (given), PUE 1.2"


def test_a_grid_says_where_its_intensity_comes_from():
    assert str(grid("POL")).startswith("Poland, ")
    assert f"annual average {COUNTRIES['POL']['year']}, through CodeCarbon" in str(grid("POL"))


REFUSED = {
    "near": ({"region": "FRB"}, r"unknown region 'FRB'; did you mean .*FRA.*\? Use a three-letter ISO country code"),
    "far": (
        {"region": "???"},
        r"unknown region '\?\?\?'\. Use .* country code, a zone \(US-CA, .*\), `world`, or --intensity",
    ),
    "empty": ({"region": ""}, r"unknown region ''\. Use"),
    "pue below one": ({"pue": 0.9}, r"--pue must be at least 1 \(1 is no overhead\), got 0\.9"),
    "pue not a number": ({"pue": math.nan}, "--pue must be at least 1 .*, got nan"),
    "pue without bound": ({"pue": math.inf}, "--pue must be at least 1 .*, got inf"),
    "intensity below zero": ({"intensity": -1.0}, "--intensity must be at least 0 gCO2e/kWh, got -1"),
    "intensity not a number": ({"intensity": math.nan}, "--intensity must be at least 0 gCO2e/kWh, got nan"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(RegionError, match=message):
        grid(**options)
