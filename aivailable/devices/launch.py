"""Entry point of `aivailable-gpu`: tells a person that Nomad starts it, and Nomad why it cannot start.

The rest is imported only then: an import that fails must end in a line that Nomad shows at its level ERROR.
"""

import importlib
import os
import sys

COOKIE_NAME = "NOMAD_PLUGIN_MAGIC_COOKIE"
COOKIE = "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255"
"""Nomad's `plugins/base/plugin.go`: no secret, it only tells that the starter is Nomad."""


def main() -> None:
    """Serve Nomad, or say what is wrong."""
    if os.environ.get(COOKIE_NAME) != COOKIE:
        sys.stderr.write(
            "aivailable-gpu is a device plugin: Nomad starts it, from the agent's plugin_dir.\n\n"
            "hint: `aivailable doctor` looks at this machine's cards; docs/install.md says how to configure Nomad\n"
        )
        sys.exit(2)
    try:
        module = importlib.import_module("aivailable.devices.serve")
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting must be readable in Nomad's log
        sys.stderr.write(f"[ERROR] aivailable-gpu cannot start: {type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(module.serve())
