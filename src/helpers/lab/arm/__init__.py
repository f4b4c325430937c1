"""Arms: implementations under test, each run in a process of its own."""

from helpers.lab.arm.running import Arm, ArmError, Watch, compare_arms, run_arm

__all__ = ["Arm", "ArmError", "Watch", "compare_arms", "run_arm"]
