"""Decides what runs where: `plan(fleet, snapshot) -> Plan`, with a reason for everything that is not placed.

Belongs here: pure decisions over frozen dataclasses; same input, same output.
Does not: I/O, clocks, randomness without a seed, formulas about VRAM (`vram`), job text (`rendering`).
"""

from aivailable.placement.exact import plan_exactly
from aivailable.placement.lookahead import Hole, Survival, defragment, survival, without_nodes
from aivailable.placement.planner import FAILED, Planner, plan
from aivailable.placement.reasons import MIN_AVAILABLE
from aivailable.placement.versions import given_up, gone_back, in_force, same_version, succeed, version_hashes

__all__ = [
    "FAILED",
    "MIN_AVAILABLE",
    "Hole",
    "Planner",
    "Survival",
    "defragment",
    "given_up",
    "gone_back",
    "in_force",
    "plan",
    "plan_exactly",
    "same_version",
    "succeed",
    "survival",
    "version_hashes",
    "without_nodes",
]
