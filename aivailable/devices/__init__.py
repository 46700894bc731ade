"""Cards as the node sees them: inventories, and the pure step from cards to Nomad device groups and reservations.

Belongs here: what the Nomad device plugin needs, and nothing that makes it start slowly (standard library and `model`).
Does not: placement, formulas about VRAM, anything above `model` and `errors`.
"""
