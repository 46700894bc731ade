"""Benchmarks that print one table each, and the stand-in engine they load.

`python -m bench.NAME [--json]`. Medians with minimum and maximum, ratios inside one run; never a pass or fail by time.
"""
