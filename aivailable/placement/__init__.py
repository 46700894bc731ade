"""Decides what runs where: `plan(fleet, snapshot) -> Plan`, with a reason for everything that is not placed.

Belongs here: pure decisions over frozen dataclasses; same input, same output.
Does not: I/O, clocks, randomness without a seed, formulas about VRAM (`vram`), job text (`rendering`).
"""

from aivailable.placement.exact import plan_exactly
from aivailable.placement.lookahead import Hole, Survival, defragment, survival, without_nodes
from aivailable.placement.planner import Planner, plan

__all__ = ["Hole", "Planner", "Survival", "defragment", "plan", "plan_exactly", "survival", "without_nodes"]
