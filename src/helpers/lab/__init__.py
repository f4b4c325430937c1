"""Runs an implementation against the mock server and records what happened."""

from helpers.lab.arm import ArmError, compare_arms, run_arm
from helpers.lab.noise import noise_floor
from helpers.lab.run import (
    Block,
    Comparison,
    Culprit,
    Failure,
    Run,
    Snapshot,
    Spread,
    Stall,
    Where,
)
from helpers.lab.stall_meter import BlockedStep, StallMeter, Stretch

__all__ = [
    "ArmError",
    "Block",
    "BlockedStep",
    "Comparison",
    "Culprit",
    "Failure",
    "Run",
    "Snapshot",
    "Spread",
    "Stall",
    "StallMeter",
    "Stretch",
    "Where",
    "compare_arms",
    "noise_floor",
    "run_arm",
]
