"""Decides what runs where: `plan(fleet, snapshot) -> Plan`, with a reason for everything that is not placed.

Belongs here: pure decisions over frozen dataclasses; same input, same output.
Does not: I/O, clocks, randomness without a seed, formulas about VRAM (`vram`), job text (`rendering`).
"""

from aivailable.placement.planner import plan

__all__ = ["plan"]
