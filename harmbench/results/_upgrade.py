"""Old names of fields and measures, as harmbench 0.1 wrote them, and their present names.

Runs and suites with old names open for one release. Values stay the same, so nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROTOCOL_FIELDS = {
    "centre_std": "center_std",
    "examine_samples": "analysis_samples",
    "seeds_together": "batched_seeds",
}
MEASURES = {
    "centre_mean_distance": "center_mean_distance",
    "gradient_norm_trunk": "gradient_norm_backbone",
    "gradient_norm_cv_trunk": "gradient_norm_cv_backbone",
    "gradient_spike_rate_trunk": "gradient_spike_rate_backbone",
    "gradient_cosine_trunk": "gradient_cosine_backbone",
}
RECORD_FIELDS = {"block": "invocation", "together": "group_size"}
PHASES = {"examine": "analyze"}


def renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields under their present names.

    Raises:
        ValueError: if a field is given under both names.

    >>> renamed({"centre_std": 0.3, "lr": 0.01}, PROTOCOL_FIELDS)
    {'center_std': 0.3, 'lr': 0.01}
    """
    for old, new in names.items():
        if old in fields and new in fields:
            raise ValueError(f"'{old}' is the old name of '{new}'; leave it out")
    return {names.get(field, field): value for field, value in fields.items()}


def upgraded_trial(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial record of schema 1 or 2 under the names of schema 3. Its `schema_version` stays."""
    trial = renamed(plain, RECORD_FIELDS)
    if isinstance(spec := trial.get("spec"), Mapping) and isinstance(protocol := spec.get("protocol"), Mapping):
        trial["spec"] = {**spec, "protocol": renamed(protocol, PROTOCOL_FIELDS)}
    for field in ("measurements", "curves"):
        trial[field] = [_with_present_name(entry, "name", MEASURES) for entry in trial.get(field, ())]
    trial["phases"] = [_with_present_name(entry, "phase", PHASES) for entry in trial.get("phases", ())]
    return trial


def _with_present_name(entry: Mapping[str, Any], field: str, names: Mapping[str, str]) -> dict[str, Any]:
    return {**entry, field: names.get(entry[field], entry[field])}


def upgraded_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's header with the present names of the protocol's fields."""
    suite = header.get("suite")
    if not isinstance(suite, Mapping):
        return dict(header)
    changed = {
        part: renamed(suite[part], PROTOCOL_FIELDS)
        for part in ("protocol", "vary")
        if isinstance(suite.get(part), Mapping)
    }
    return {**header, "suite": {**suite, **changed}}
