"""The plugin over gRPC, as Nomad's client calls it: base, device, health, controller and stdio services."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
import msgpack

from aivailable.devices import wire
from aivailable.devices.config import SCHEMA
from aivailable.devices.holders import Holdings
from aivailable.devices.inventory import Reading
from aivailable.devices.plugin import Log, Plugin, Published
from aivailable.devices.slices import AttributeValue
from aivailable.errors import AivailableError
from aivailable.versions import own_version

T = TypeVar("T")

PLUGIN_NAME = "aivailable-gpu"
PLUGIN_TYPE_DEVICE = 3
API_VERSION = "v0.1.0"
POLL_S = 1.0
"""Time between two looks at the cards."""
UNITS = {"memory": "MiB", "bandwidth": "GB/s"}
"""Units of attributes. With one a constraint compares by value with sizes (`>= 12 GiB`) and never with bare numbers, so
what is named after its unit has none."""

_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


class Service:
    """Answers Nomad's calls. A stream never ends by itself: Nomad would drop the cards and never ask again."""

    def __init__(self, plugin: Plugin, stop: threading.Event, *, log: Log) -> None:
        self._plugin = plugin
        self._stop = stop
        self._log = log

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """The five services of the protocol."""
        generic = grpc.method_handlers_generic_handler
        return (
            generic("grpc.health.v1.Health", {"Check": _unary(self._check)}),
            generic("plugin.GRPCController", {"Shutdown": _unary(self._shutdown)}),
            generic("plugin.GRPCStdio", {"StreamStdio": _stream(self._stdio)}),
            generic(
                "hashicorp.nomad.plugins.base.proto.BasePlugin",
                {
                    "PluginInfo": _unary(self._plugin_info),
                    "ConfigSchema": _unary(self._config_schema),
                    "SetConfig": _unary(self._set_config, wire.SetConfigRequest.FromString),
                },
            ),
            generic(
                "hashicorp.nomad.plugins.device.DevicePlugin",
                {
                    "Fingerprint": _stream(self._fingerprint),
                    "Reserve": _unary(self._reserve, wire.ReserveRequest.FromString),
                    "Stats": _stream(self._stats, wire.StatsRequest.FromString),
                },
            ),
        )

    def _check(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        del request, context
        return _SERVING

    def _plugin_info(self, request: bytes, context: grpc.ServicerContext) -> Any:
        del request, context
        return wire.PluginInfoResponse(
            type=PLUGIN_TYPE_DEVICE, plugin_api_versions=[API_VERSION], plugin_version=own_version(), name=PLUGIN_NAME
        )

    def _config_schema(self, request: bytes, context: grpc.ServicerContext) -> Any:
        del request, context
        response = wire.ConfigSchemaResponse()
        for name, (kind, default) in SCHEMA.items():
            spec = response.spec.object.attributes[name].default
            spec.primary.Attr.name, spec.primary.Attr.type = name, kind
            spec.default.literal.value = default
        return response

    def _set_config(self, request: Any, context: grpc.ServicerContext) -> Any:
        given = msgpack.unpackb(request.msgpack_config) if request.msgpack_config else {}
        try:
            self._plugin.configure(given or {})
        except AivailableError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, _one_line(error))
        return wire.Empty()

    def _fingerprint(self, request: bytes, context: grpc.ServicerContext) -> Iterator[Any]:
        del request
        sent: tuple[Published, ...] | None = None
        while not self._stop.is_set() and context.is_active():
            now = self._asked(self._plugin.look)
            if now is not None and now != sent:
                sent = now
                yield _fingerprint_message(now)
            self._stop.wait(POLL_S)

    def _reserve(self, request: Any, context: grpc.ServicerContext) -> Any:
        ids = tuple(request.device_ids)
        try:
            granted = self._plugin.reserve(ids)
        except AivailableError as error:
            self._log("warn", f"reserve refused: {error.message}")
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, _one_line(error))
        response = wire.ReserveResponse()
        for name, value in granted.reservation.env.items():
            response.container_res.envs[name] = value
        for path in granted.device_nodes:
            response.container_res.devices.add(task_path=path, host_path=path, permissions="rwm")
        for path in granted.mounts:
            response.container_res.mounts.add(task_path=path, host_path=path, read_only=True)
        return response

    def _stats(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        interval_s = request.collection_interval.ToTimedelta().total_seconds() or POLL_S
        while not self._stop.is_set() and context.is_active():
            measured = self._asked(self._plugin.measure)
            if measured is not None:
                yield _stats_message(measured)
            self._stop.wait(interval_s)

    def _asked(self, question: Callable[[], T]) -> T | None:
        """The plugin's answer; None where it could not give one."""
        try:
            return question()
        except Exception as error:  # noqa: BLE001 - the streams' edge: whatever it is, the cards must not vanish
            self._log("error", f"the cards stay as they were after: {error!r}")
            return None

    def _shutdown(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        del request, context
        self._stop.set()
        return b""

    def _stdio(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Nothing is ever sent: what there is to say goes to stderr as JSON lines."""
        del request
        while not self._stop.wait(POLL_S) and context.is_active():
            yield from ()


def _one_line(error: AivailableError) -> str:
    return f"{error.message} (hint: {error.hint})" if error.hint else error.message


def _unary(answer: Callable[[Any, Any], Any], read: Callable[[bytes], Any] = bytes) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=read, response_serializer=_serialized)


def _stream(answer: Callable[[Any, Any], Iterator[Any]], read: Callable[[bytes], Any] = bytes) -> grpc.RpcMethodHandler:
    return grpc.unary_stream_rpc_method_handler(answer, request_deserializer=read, response_serializer=_serialized)


def _serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _fingerprint_message(cards: Iterable[Published]) -> Any:
    message = wire.FingerprintResponse()
    for card in cards:
        group = message.device_group.add(
            vendor=card.group.vendor, device_type=card.group.type, device_name=card.group.name
        )
        for name, value in card.group.attributes.items():
            _set_attribute(group.attributes[name], value, UNITS.get(name, ""))
        for instance in card.group.instances:
            device = group.devices.add(ID=instance, healthy=card.group.healthy, health_description=card.why)
            if card.pci:
                device.hw_locality.pci_bus_id = card.pci
    return message


def _set_attribute(attribute: Any, value: AttributeValue, unit: str) -> None:
    if isinstance(value, bool):
        attribute.bool_val = value
    elif isinstance(value, int):
        attribute.int_val = value
    elif isinstance(value, float):
        attribute.float_val = value
    else:
        attribute.string_val = value
    attribute.unit = unit


def _stats_message(measured: Iterable[tuple[Reading, Holdings]]) -> Any:
    """One entry per card, not per slice, in a group of type `gpu`: 5 kB instead of 1.15 MB for 2,560 slices."""
    message = wire.StatsResponse()
    for reading, held in measured:
        card = reading.card
        stats = message.groups.add(vendor=card.vendor.value, type="gpu", name=card.name).instance_stats[card.uuid]
        stats.timestamp.GetCurrentTime()
        for summary in (stats.summary, stats.stats.attributes["Memory used"]):
            summary.int_numerator_val.value = card.used_mib
            summary.int_denominator_val.value = card.total_mib
            summary.unit, summary.desc = "MiB", "memory in use on the whole card"
        _number(stats, "Memory booked", held.booked_mib, "MiB", "memory that tasks booked")
        _number(stats, "Memory foreign", held.foreign_mib, "MiB", "memory held by what is no task")
        _number(stats, "Utilization", reading.utilization_percent, "%", "share of time in which a kernel ran")
        _number(stats, "Temperature", reading.temperature_c, "C", "temperature of the card")
        _number(stats, "Power", reading.power_w, "W", "power drawn")
    return message


def _number(stats: Any, name: str, value: float | None, unit: str, description: str) -> None:
    if value is None:
        return
    entry = stats.stats.attributes[name]
    if isinstance(value, int):
        entry.int_numerator_val.value = value
    else:
        entry.float_numerator_val.value = value
    entry.unit, entry.desc = unit, description
