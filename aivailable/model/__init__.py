"""The words of the domain as frozen dataclasses: fleet, cards, snapshot, footprint, plan, actions.

Belongs here: data and the arithmetic that is true of it by definition (a sum of terms, slices for a claim).
Does not: I/O, defaults from the environment, formulas with constants (`vram`), decisions (`placement`).
"""
