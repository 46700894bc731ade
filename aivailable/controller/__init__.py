"""The loop: observe, plan, apply. Several controllers may run; one leads.

Belongs here: putting the parts together, watching, carrying out actions, what is remembered of it.
Does not: printing (`cli`), formulas (`vram`), decisions (`placement`), speaking to a cluster directly (`clients`).
"""
