"""How well footprints meet what engines printed: published observations against the product's own terms.

Belongs here: reading the observations, profiles from published facts, scores. Does not: formulas of memory; those are
the product's, in `aivailable/vram`.
"""
