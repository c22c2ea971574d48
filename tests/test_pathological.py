"""Trainings that go wrong, through the real commands: what records, claims and reports say of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
name: wrong
datasets: [digits]
backbones: [mlp]
metrics: [euclidean, manhattan]
losses: [cross_entropy, harmonic]
seeds: 1
protocol: {PROTOCOL}
claims:
  - {id: cheap, sentence: It is fast., measure: throughput, rule: better, margin: -0.99, heads: "* + harmonic"}
"""
