"""A real Nomad and a real Consul in network namespaces: one server, three clients with simulated cards.

Nodes are namespaces with addresses of their own on one bridge, so every agent has the ports it has on a real host.
"""
