"""Records, the run folder and artifacts: everything on disk. This package derives nothing.

vocabulary   fixed words: components, phases, directions, origins
protocol     training settings          spec         one trial's settings and its id
energy       readings and totals        structure    known structure of a task's tokens
invocation   records of one call        records      measurements and the trial record; re-exports all of these
store        reads and writes a run     artifacts    arrays of a trial, for plots
"""

from __future__ import annotations
