"""What the agent's configuration may say about the plugin, checked; and the slice size that may never change."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aivailable.devices.simulated import load_nodes
from aivailable.errors import UserError
from aivailable.model.cards import SLICE_MIB

INVENTORIES = ("nvidia", "amd", "simulated")
SLICE_SIZES_MIB = (256, 512, 1024)
"""Sizes that were measured on a node with eight 80 GiB cards; smaller ones make Nomad's node records too large."""

SCHEMA = {
    "inventories": ("list(string)", '["nvidia", "amd"]'),
    "simulated": ("string", '""'),
    "node": ("string", '""'),
    "slice_mib": ("number", str(SLICE_MIB)),
    "state": ("string", '"/var/lib/aivailable/gpu"'),
}
"""Attributes of the plugin's `config` block: their type and default as HCL. Nomad checks names and types by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginConfig:
    """The plugin's configuration.

    `inventories` are names out of INVENTORIES. `simulated` is the file of simulated cards and `node` the name of the
    node in it that this one is. `state` is the directory that keeps the slice size.
    """

    inventories: tuple[str, ...] = ("nvidia", "amd")
    simulated: Path | None = None
    node: str = ""
    slice_mib: int = SLICE_MIB
    state: Path = Path("/var/lib/aivailable/gpu")


def read_config(given: Mapping[str, Any]) -> PluginConfig:
    """The configuration from what Nomad decoded.

    Raises:
        UserError: A mistake in it; the text appears when the agent refuses to start.
    """
    inventories = tuple(given.get("inventories") or ("nvidia", "amd"))
    if unknown := [name for name in inventories if name not in INVENTORIES]:
        raise UserError(
            f"inventories: {', '.join(map(repr, unknown))} is not known", hint=f"known are {', '.join(INVENTORIES)}"
        )
    slice_mib = given.get("slice_mib") or SLICE_MIB
    if slice_mib not in SLICE_SIZES_MIB:
        raise UserError(
            f"slice_mib: {slice_mib}", hint=f"use one of {', '.join(map(str, SLICE_SIZES_MIB))}, the same on all nodes"
        )
    config = PluginConfig(
        inventories=inventories,
        simulated=Path(given["simulated"]) if given.get("simulated") else None,
        node=given.get("node") or "",
        slice_mib=slice_mib,
        state=Path(given.get("state") or PluginConfig().state),
    )
    if ("simulated" in inventories) != (config.simulated is not None):
        raise UserError(
            'inventories and simulated: "simulated" needs a file, and a file needs "simulated"',
            hint='write inventories = ["simulated"] and simulated = "/etc/aivailable/inventory.toml"',
        )
    if config.simulated is not None:
        _check_simulated(config.simulated, config.node)
    return config


def _check_simulated(file: Path, node: str) -> None:
    try:
        nodes = load_nodes(file.read_text(), where=str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"simulated: {file}: {error}", hint="name a readable file") from error
    names = [known.name for known in nodes]
    if node not in names and not (not node and len(nodes) == 1):
        raise UserError(f"node: {node!r} is not in {file}", hint=f"it has {', '.join(names)}")


def keep_slice_size(config: PluginConfig) -> None:
    """Refuse another slice size than the one that allocations on this node were booked with.

    Nomad knows slices by their ids only: after a change it would give out memory that is taken. The file is removed by
    the node's drain procedure.

    Raises:
        UserError: The size differs, or the file cannot be kept.
    """
    file = config.state / "slices.json"
    try:
        if file.exists():
            kept = json.loads(file.read_text())["slice_mib"]
            if kept != config.slice_mib:
                raise UserError(
                    f"slice_mib: {config.slice_mib}, but this node's slices were booked with {kept} ({file}); a change "
                    "under running allocations would book memory twice",
                    hint="go back to the old size, or drain the node and remove that file (`node.sh reslice`)",
                )
            return
        config.state.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{os.getpid()}")
        new.write_text(json.dumps({"slice_mib": config.slice_mib}) + "\n")
        new.replace(file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"state: {file}: {error}", hint="the directory must be writable for Nomad; remove a damaged file"
        ) from error
