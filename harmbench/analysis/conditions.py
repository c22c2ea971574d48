"""Conditions, where heads are compared: their names, and the order of their settings."""

from __future__ import annotations

import math


def condition_name(dataset: str, backbone: str, setting: str) -> str:
    """Return the name of a condition for people.

    >>> condition_name("lattice", "token_mlp", "weight_decay=0")
    'token_mlp on lattice, weight_decay=0'
    """
    return f"{backbone} on {dataset}" + (f", {setting}" if setting else "")


def setting_order(setting: str) -> tuple[tuple[float, str], ...]:
    """Return a sort key of a setting, which orders numbers by size.

    >>> setting_order("weight_decay=0.5 optimizer=sgd")
    ((0.5, ''), (inf, 'sgd'))
    """
    values = [part.partition("=")[2] for part in setting.split()]
    return tuple((float(value), "") if _is_number(value) else (math.inf, value) for value in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
