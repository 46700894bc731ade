"""One-machine stand-ins for Nomad, Consul and Nomad's variables; they run the same rendered job text as processes.

Belongs here: exactly what docs/architecture.md lists under "What the embedded cluster imitates", on files in one
directory that any process may open. Only the agent starts and ends processes.
Does not: a job format of its own, decisions about placement beyond what Nomad's scheduler does, anything silent:
what is not imitated is refused by name.
"""
