"""The front: Envoy's resources as pure functions, the feeder that writes its files, the supervisor that runs it.

Belongs here: fleet, keys and instances -> Envoy documents; publishing them atomically; Envoy's process.
Does not: placement; per-request work (no request passes through Python); hand-written policy text (`envoy/`).
"""
