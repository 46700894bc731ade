"""The Nomad jobs of AIvailable itself: controllers and gateways."""

import shlex

from aivailable.model.service import CONTROLLER_JOB, GATEWAY_JOB, GATEWAY_SERVICE
from aivailable.rendering.jobs import RenderedJob, templates
from aivailable.rendering.quoting import duration
from aivailable.settings import Settings, passed_on

_PORTS = ("AIVAILABLE_GATEWAY_PORT", "AIVAILABLE_PROBE_PORT")
"""Always said to a gateway: one that only took another port because its own is taken would be found by nobody."""

GATEWAY_END_S = 10.0
"""What a gateway takes to end beyond finishing its requests."""


def render_controller(settings: Settings, *, copies: int) -> RenderedJob:
    """The job of the controllers, `copies` of them on distinct hosts."""
    values = {
        "copies": copies,
        "command": shlex.split(settings.node_command),
        "environment": passed_on(settings),
        "metrics_port": settings.controller_port,
        "https": settings.gateway_scheme == "https",
        "check_interval": duration(settings.check_interval_s),
    }
    return RenderedJob(id=CONTROLLER_JOB, text=templates().get_template("controller.nomad.hcl.j2").render(values))


def render_gateway(settings: Settings, *, copies: int) -> RenderedJob:
    """The job of the gateways, `copies` of them on distinct hosts, with the ports of the settings."""
    values = {
        "copies": copies,
        "command": shlex.split(settings.node_command),
        "environment": {name: value for name, value in passed_on(settings).items() if name not in _PORTS},
        "service": GATEWAY_SERVICE,
        "http_port": settings.gateway_port,
        "probe_port": settings.probe_port,
        "check_interval": duration(settings.check_interval_s),
        "shutdown_delay": duration(settings.shutdown_delay_s),
        "kill_timeout": duration(settings.kill_timeout_s + GATEWAY_END_S),
    }
    return RenderedJob(id=GATEWAY_JOB, text=templates().get_template("gateway.nomad.hcl.j2").render(values))
