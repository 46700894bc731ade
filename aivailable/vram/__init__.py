"""The truth about VRAM: file headers -> profile; profile x engine x card -> footprint, flags, and where it runs at all.

Belongs here: what the headers of model files say, formulas with their sources, which engine runs on which card.
Does not: the network, decisions about where something is placed (`placement`), job text (`rendering`).
"""
