"""The only code that talks to other services over the network: Nomad, Consul, model hubs, the gateway as a client.

Belongs here: requests, deadlines, and their failures in our errors.
Does not: decisions; anything that prints.
"""
