"""What the tests of `deploy/` share: running node.sh, and an empty root for it to write into."""

import os
import subprocess
from pathlib import Path
from typing import Any

import hcl2

from tests.processes import ROOT

DEPLOY = ROOT / "deploy"
INVENTORY = ROOT / "examples" / "demo-inventory.toml"
SIMULATED = ("--simulated", str(INVENTORY), "--node", "node1")
NOMAD_D, CONSUL_D = "etc/aivailable/nomad.d", "etc/aivailable/consul.d"


def node_sh(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(DEPLOY / "node.sh"), *words], capture_output=True, text=True, check=False, timeout=30, cwd=cwd
    )


def empty_root(folder: Path) -> Path:
    """A root in which only Nomad, Consul and CNI plugins are installed."""
    for name in ("usr/bin/nomad", "usr/bin/consul", "usr/lib/cni/bridge"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    return folder


def make(root: Path, *words: str) -> str:
    """Run node.sh for the host `n1` with an address of its own; its words."""
    done = node_sh(*words, "--root", str(root), "--name", "n1", "--bind", "10.0.0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Every file below a root with its mode and content, links with their target."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode & 0o777,
            str(path.readlink()) if path.is_symlink() else path.read_text(),
        )
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def read_hcl(file: Path) -> Any:
    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False, preserve_heredocs=False)
    return hcl2.loads(file.read_text(), serialization_options=options)


def as_root() -> bool:
    return os.geteuid() == 0
