"""Partitions of a rack: what a test may cut between a node and the rest, and mend."""

import contextlib
import subprocess
from collections.abc import Iterator

from tests.real.rack import Rack

CONSUL_PORTS = (8300, 8301, 8302, 8500)
NOMAD_PORTS = (4646, 4647, 4648)


@contextlib.contextmanager
def cut_off(rack: Rack, node: str, *ports: int) -> Iterator[None]:
    """Packets between a node and these ports of all others are dropped, both ways, until the context ends."""
    listed = ",".join(map(str, ports))
    try:
        for protocol in ("tcp", "udp"):
            for chain, ours in (("INPUT", "--in-interface"), ("OUTPUT", "--out-interface")):
                for side in ("--destination-ports", "--source-ports"):
                    rule = [chain, "--protocol", protocol, ours, "eth0", "--match", "multiport", side, listed]
                    _iptables(rack, node, "--append", *rule, "--jump", "DROP")
        yield
    finally:
        _iptables(rack, node, "--flush")


@contextlib.contextmanager
def unplugged(rack: Rack, node: str) -> Iterator[None]:
    """A node's network cable is out until the context ends; its processes live on."""
    subprocess.run(["ip", "link", "set", rack.link(node), "down"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "set", rack.link(node), "up"], check=True)


def _iptables(rack: Rack, node: str, *words: str) -> None:
    subprocess.run(["ip", "netns", "exec", rack.namespace(node), "iptables", *words], check=True)
