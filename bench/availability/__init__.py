"""Availability: clients ask at a steady rate while parts of the system are killed, frozen, cut off and renewed.

`arrivals`, `schedule`, `attribution` and `report` are pure. `embedded` and `real` are the two back ends, each a set of
parts that can be broken; `chaos` breaks them by the schedule, `watch` looks on. docs/availability.md says what counts.
"""
