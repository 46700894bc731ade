"""Placement measured: scale, quality, utilisation, churn. `python -m bench.placement [--part PART] [--json]`.

Belongs here: traces and catalogues read as fleets and snapshots, other planners to compare with, the tables.
Does not: anything the product uses.
"""
