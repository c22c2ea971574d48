"""Raw and unrounded rows, for csv and json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmbench.energy.carbon import Grid
from harmbench.results.records import SCHEMA_VERSION, Measurement, TrialRecord
from harmbench.results.store import RunData


def tidy_rows(run: RunData, grid: Grid) -> Iterator[dict[str, Any]]:
    """Yield one row for each trial and measure, including CO2e."""
    for trial in run.trials:
        spec = trial.spec
        common = {
            "schema_version": SCHEMA_VERSION,
            "run": run.folder,
            "trial": trial.id,
            "dataset": spec.dataset,
            "backbone": spec.backbone,
            "head": spec.head,
            "loss": spec.loss,
            "setting": spec.setting,
            "seed": spec.seed,
            "status": trial.status,
            "device": trial.device,
            "order": trial.order,
        }
        for m in (*trial.measurements, *_co2_measurements(trial, grid)):
            yield {
                **common,
                "measure": m.name,
                "value": m.value,
                "unit": m.unit,
                "better": m.better,
                "origin": m.origin,
                **_facts(m),
                "note": m.reason,
            }
        if not trial.measurements:
            yield {
                **common,
                "measure": "",
                "value": None,
                "unit": "",
                "better": "",
                "origin": "missing",
                **_facts(None),
                "note": trial.reason,
            }


def _facts(measurement: Measurement | None) -> dict[str, Any]:
    """Return how joules were obtained. Empty for other measures."""
    facts = measurement.energy if measurement else None
    if facts is None:
        return {"method": "", "scope": "", "period_s": None, "coverage": None}
    return {"method": facts.method, "scope": facts.scope, "period_s": facts.period_s, "coverage": facts.coverage}


def _co2_measurements(trial: TrialRecord, grid: Grid) -> Iterator[Measurement]:
    for component in ("cpu", "gpu"):
        energy = trial.measurement(f"{component}_joules")
        if energy is not None and energy.value is not None:
            note = f"{component} energy ({energy.origin}) x {grid}"
            grams = grid.grams(energy.value)
            yield Measurement.of(
                f"{component}_co2", grams, "gCO2e", "lower", note, origin="derived", energy=energy.energy
            )
