"""Runs an implementation against the mock server and records what happened."""

from helpers.lab.arm import ArmError, compare_arms, run_arm
from helpers.lab.noise import noise_floor
from helpers.lab.probes import batch as batches
from helpers.lab.probes import streaming as readers
from helpers.lab.probes.proxy import buffering_proxy
from helpers.lab.probes.retries import came_early, hopeless
from helpers.lab.probes.sessions import at_once, forgotten
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
from helpers.lab.scratch import Scratch
from helpers.lab.service import serving
from helpers.lab.stall_meter import BlockedStep, StallMeter, Stretch
from helpers.lab.valkey import Valkey, ValkeyMissing
from helpers.lab.workers import WorkerError, Workers

__all__ = [
    "ArmError",
    "Block",
    "BlockedStep",
    "Comparison",
    "Culprit",
    "Failure",
    "Run",
    "Scratch",
    "Snapshot",
    "Spread",
    "Stall",
    "StallMeter",
    "Stretch",
    "Valkey",
    "ValkeyMissing",
    "Where",
    "WorkerError",
    "Workers",
    "at_once",
    "batches",
    "buffering_proxy",
    "came_early",
    "compare_arms",
    "forgotten",
    "hopeless",
    "noise_floor",
    "readers",
    "run_arm",
    "serving",
]
