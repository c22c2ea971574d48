"""Executors: where trials run, and how many at once. A trial that crashes or is killed harms no other trial."""

from __future__ import annotations

from harmbench.executors._base import (
    Event,
    Executor,
    Finished,
    JobMaker,
    Link,
    OpenSource,
    Progress,
    Session,
    Started,
    Task,
)
from harmbench.registry import Room

EXECUTORS: Room[Executor] = Room("executors", Executor, "executor")

__all__ = [
    "EXECUTORS",
    "Event",
    "Executor",
    "Finished",
    "JobMaker",
    "Link",
    "OpenSource",
    "Progress",
    "Session",
    "Started",
    "Task",
]
