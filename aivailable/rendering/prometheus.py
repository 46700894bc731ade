"""The Nomad job of a Prometheus that reads everything of a cluster, with the alert rules of `monitoring/`."""

import shlex

from aivailable.model.service import GATEWAY_SERVICE, PROMETHEUS_JOB
from aivailable.rendering.jobs import RenderedJob, templates
from aivailable.rendering.quoting import duration
from aivailable.settings import Settings, shipped

IMAGE = "prom/prometheus:v3.14.0"

LEFT, RIGHT = "[[", "]]"
"""What Nomad fills in stands between these: alert rules use the usual braces for Prometheus."""

_CONSUL, _GATEWAY = "'CONSUL'", "'GATEWAY'"
"""The places in `monitoring/prometheus.yml` for the addresses of Consul and of a gateway's probe port."""

DISK_SHARE = 0.8
"""How much of the disk the stored blocks may take; the rest is for what is written and compacted now."""


def render_prometheus(settings: Settings) -> RenderedJob:
    """The job of one Prometheus; a command of the node where the settings name one, else a container."""
    monitoring = shipped("monitoring")
    values = {
        "id": PROMETHEUS_JOB,
        "command": shlex.split(settings.prometheus_command),
        "image": IMAGE,
        "port": settings.prometheus_port,
        "disk_mib": settings.prometheus_disk_mib,
        "retention": f"--storage.tsdb.retention.size={round(DISK_SHARE * settings.prometheus_disk_mib)}MB",
        "check_interval": duration(max(settings.check_interval_s, 1)),
        "left": LEFT,
        "right": RIGHT,
        "configuration": _configuration((monitoring / "prometheus.yml").read_text(), settings),
        "alerts": (monitoring / "alerts.yml").read_text(),
    }
    return RenderedJob(id=PROMETHEUS_JOB, text=templates().get_template("prometheus.nomad.hcl.j2").render(values))


def _configuration(text: str, settings: Settings) -> str:
    """The configuration with what Nomad fills in: the node's Consul, and the first gateway that is healthy."""
    first = "[[ with index . 0 ]][[ .Address ]]:[[ .ServiceMeta.probe ]][[ end ]]"
    none = f"127.0.0.1:{settings.probe_port}"
    gateway = f'[[ with service "{GATEWAY_SERVICE}" ]]{first}[[ else ]]{none}[[ end ]]'
    filled = text.replace(_CONSUL, "'[[ env \"CONSUL_HTTP_ADDR\" ]]'").replace(_GATEWAY, f"'{gateway}'")
    if not settings.alertmanager:
        return filled
    targets = f"[{{static_configs: [{{targets: ['{settings.alertmanager}']}}]}}]"
    return f"{filled}\nalerting:\n  alertmanagers: {targets}\n"
