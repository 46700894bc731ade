"""Programs that jobs start as engines when no container is used.

Belongs here: starting an in-process engine with planned flags, and refusing to spill to the CPU.
Does not: knowledge of clusters, nodes or plans.
"""
