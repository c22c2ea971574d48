"""Names that harmbench 0.1 wrote, and what they are called now. Runs and suites with old names open for one release.

The measures and the fields of a protocol are the same values under another name, so nothing is computed here.
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
    """The fields under their present names.

    Raises:
        ValueError: where a field is there under both names.

    >>> renamed({"centre_std": 0.3, "lr": 0.01}, PROTOCOL_FIELDS)
    {'center_std': 0.3, 'lr': 0.01}
    """
    for old, new in names.items():
        if old in fields and new in fields:
            raise ValueError(f"'{old}' is the old name of '{new}'; leave it out")
    return {names.get(field, field): value for field, value in fields.items()}


def upgraded_trial(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A trial record of schema 1 or 2 with the names of schema 3; its `schema_version` stays."""
    trial = renamed(plain, RECORD_FIELDS)
    if isinstance(spec := trial.get("spec"), Mapping) and isinstance(protocol := spec.get("protocol"), Mapping):
        trial["spec"] = {**spec, "protocol": renamed(protocol, PROTOCOL_FIELDS)}
    for field in ("measurements", "curves"):
        trial[field] = [{**one, "name": MEASURES.get(one["name"], one["name"])} for one in trial.get(field, ())]
    trial["phases"] = [{**one, "phase": PHASES.get(one["phase"], one["phase"])} for one in trial.get("phases", ())]
    return trial


def upgraded_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """A run's header with the present names of the protocol's fields."""
    suite = header.get("suite")
    if not isinstance(suite, Mapping):
        return dict(header)
    changed = {
        part: renamed(suite[part], PROTOCOL_FIELDS)
        for part in ("protocol", "vary")
        if isinstance(suite.get(part), Mapping)
    }
    return {**header, "suite": {**suite, **changed}}
