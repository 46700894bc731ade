"""Placements to Nomad job text, from the templates in `jobs/`.

Belongs here: the strict, pure step from one typed placement to HCL text, and the quoting that nothing gets out of.
Does not: decisions, environment or store access from a template, I/O other than reading templates.
"""

from aivailable.rendering.jobs import RenderedJob, render
from aivailable.rendering.open_webui import render_open_webui
from aivailable.rendering.prometheus import render_prometheus
from aivailable.rendering.system import render_controller, render_gateway

__all__ = [
    "RenderedJob",
    "render",
    "render_controller",
    "render_gateway",
    "render_open_webui",
    "render_prometheus",
]
