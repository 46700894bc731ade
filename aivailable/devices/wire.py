"""The messages of Nomad's plugin protocol, declared here; no generated files, no protoc in the build.

Names, numbers and types are those of Nomad's `plugins/base/proto/base.proto`, `plugins/device/proto/device.proto`,
`plugins/shared/structs/proto/{attribute,stats}.proto` and `plugins/shared/hclspec/hcl_spec.proto` (2.0.5); messages and
fields that a device plugin never uses are left out, as protobuf allows.
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2, wrappers_pb2

STRUCTS = "hashicorp.nomad.plugins.shared.structs"
HCLSPEC = "hashicorp.nomad.plugins.shared.hclspec"
BASE = "hashicorp.nomad.plugins.base.proto"
DEVICE = "hashicorp.nomad.plugins.device"
WRAPPERS = "google.protobuf"

WELL_KNOWN = tuple(module.DESCRIPTOR.name for module in (wrappers_pb2, duration_pb2, timestamp_pb2))

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
}


@dataclass(frozen=True, slots=True)
class _Field:
    """One field: `kind` is a scalar or a full message name; `map` fields have string keys."""

    name: str
    number: int
    kind: str
    repeated: bool = False
    map: bool = False
    one_of: bool = False


_MESSAGES: dict[str, dict[str, tuple[_Field, ...]]] = {
    STRUCTS: {
        "Attribute": (
            _Field("float_val", 1, "double", one_of=True),
            _Field("int_val", 2, "int64", one_of=True),
            _Field("string_val", 3, "string", one_of=True),
            _Field("bool_val", 4, "bool", one_of=True),
            _Field("unit", 5, "string"),
        ),
        "StatValue": (
            _Field("float_numerator_val", 1, f"{WRAPPERS}.DoubleValue"),
            _Field("float_denominator_val", 2, f"{WRAPPERS}.DoubleValue"),
            _Field("int_numerator_val", 3, f"{WRAPPERS}.Int64Value"),
            _Field("int_denominator_val", 4, f"{WRAPPERS}.Int64Value"),
            _Field("string_val", 5, f"{WRAPPERS}.StringValue"),
            _Field("bool_val", 6, f"{WRAPPERS}.BoolValue"),
            _Field("unit", 7, "string"),
            _Field("desc", 8, "string"),
        ),
        "StatObject": (
            _Field("nested", 1, f"{STRUCTS}.StatObject", map=True),
            _Field("attributes", 2, f"{STRUCTS}.StatValue", map=True),
        ),
    },
    HCLSPEC: {
        "Attr": (_Field("name", 1, "string"), _Field("type", 2, "string"), _Field("required", 3, "bool")),
        "Literal": (_Field("value", 1, "string"),),
        "Default": (_Field("primary", 1, f"{HCLSPEC}.Spec"), _Field("default", 2, f"{HCLSPEC}.Spec")),
        "Object": (_Field("attributes", 1, f"{HCLSPEC}.Spec", map=True),),
        "Spec": (
            _Field("object", 1, f"{HCLSPEC}.Object", one_of=True),
            _Field("Attr", 3, f"{HCLSPEC}.Attr", one_of=True),
            _Field("default", 9, f"{HCLSPEC}.Default", one_of=True),
            _Field("literal", 10, f"{HCLSPEC}.Literal", one_of=True),
        ),
    },
    BASE: {
        "PluginInfoResponse": (
            _Field("type", 1, "int32"),
            _Field("plugin_api_versions", 2, "string", repeated=True),
            _Field("plugin_version", 3, "string"),
            _Field("name", 4, "string"),
        ),
        "ConfigSchemaResponse": (_Field("spec", 1, f"{HCLSPEC}.Spec"),),
        "SetConfigRequest": (_Field("msgpack_config", 1, "bytes"), _Field("plugin_api_version", 3, "string")),
        "Empty": (),
    },
    DEVICE: {
        "FingerprintResponse": (_Field("device_group", 1, f"{DEVICE}.DeviceGroup", repeated=True),),
        "DeviceGroup": (
            _Field("vendor", 1, "string"),
            _Field("device_type", 2, "string"),
            _Field("device_name", 3, "string"),
            _Field("devices", 4, f"{DEVICE}.DetectedDevice", repeated=True),
            _Field("attributes", 5, f"{STRUCTS}.Attribute", map=True),
        ),
        "DetectedDevice": (
            _Field("ID", 1, "string"),
            _Field("healthy", 2, "bool"),
            _Field("health_description", 3, "string"),
            _Field("hw_locality", 4, f"{DEVICE}.DeviceLocality"),
        ),
        "DeviceLocality": (_Field("pci_bus_id", 1, "string"),),
        "ReserveRequest": (_Field("device_ids", 1, "string", repeated=True),),
        "ReserveResponse": (_Field("container_res", 1, f"{DEVICE}.ContainerReservation"),),
        "ContainerReservation": (
            _Field("envs", 1, "string", map=True),
            _Field("mounts", 2, f"{DEVICE}.Mount", repeated=True),
            _Field("devices", 3, f"{DEVICE}.DeviceSpec", repeated=True),
        ),
        "Mount": (
            _Field("task_path", 1, "string"),
            _Field("host_path", 2, "string"),
            _Field("read_only", 3, "bool"),
        ),
        "DeviceSpec": (
            _Field("task_path", 1, "string"),
            _Field("host_path", 2, "string"),
            _Field("permissions", 3, "string"),
        ),
        "StatsRequest": (_Field("collection_interval", 1, f"{WRAPPERS}.Duration"),),
        "StatsResponse": (_Field("groups", 1, f"{DEVICE}.DeviceGroupStats", repeated=True),),
        "DeviceGroupStats": (
            _Field("vendor", 1, "string"),
            _Field("type", 2, "string"),
            _Field("name", 3, "string"),
            _Field("instance_stats", 4, f"{DEVICE}.DeviceStats", map=True),
        ),
        "DeviceStats": (
            _Field("summary", 1, f"{STRUCTS}.StatValue"),
            _Field("stats", 2, f"{STRUCTS}.StatObject"),
            _Field("timestamp", 3, f"{WRAPPERS}.Timestamp"),
        ),
    },
}


def _add_field(message: Any, field: _Field, full_name: str) -> None:
    label = _FIELD.LABEL_REPEATED if field.repeated or field.map else _FIELD.LABEL_OPTIONAL
    added = message.field.add(name=field.name, number=field.number, label=label)
    target = added
    if field.map:
        # On the wire a map is a repeated message of key and value, whose name protobuf prescribes.
        entry_name = "".join(part.title() for part in field.name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING)
        added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".{full_name}.{entry_name}"
        target = entry.field.add(name="value", number=2, label=_FIELD.LABEL_OPTIONAL)
    if field.kind in _SCALARS:
        target.type = _SCALARS[field.kind]
    else:
        target.type, target.type_name = _FIELD.TYPE_MESSAGE, f".{field.kind}"
    if field.one_of:
        if not message.oneof_decl:
            message.oneof_decl.add(name="one")
        added.oneof_index = 0


def _build() -> dict[str, Any]:
    """Message classes by their short name, in a pool of their own beside the well-known types."""
    pool = descriptor_pool.DescriptorPool()
    for module in (wrappers_pb2, duration_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    file_names: list[str] = list(WELL_KNOWN)
    for package, messages in _MESSAGES.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"aivailable/{package}.proto", package=package, syntax="proto3", dependency=file_names
        )
        for name, fields in messages.items():
            message = file.message_type.add(name=name)
            for field in fields:
                _add_field(message, field, f"{package}.{name}")
        pool.AddSerializedFile(file.SerializeToString())
        file_names.append(file.name)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for package, messages in _MESSAGES.items()
        for name in messages
    }


_CLASSES = _build()

ConfigSchemaResponse = _CLASSES["ConfigSchemaResponse"]
Empty = _CLASSES["Empty"]
FingerprintResponse = _CLASSES["FingerprintResponse"]
PluginInfoResponse = _CLASSES["PluginInfoResponse"]
ReserveRequest = _CLASSES["ReserveRequest"]
ReserveResponse = _CLASSES["ReserveResponse"]
SetConfigRequest = _CLASSES["SetConfigRequest"]
StatsRequest = _CLASSES["StatsRequest"]
StatsResponse = _CLASSES["StatsResponse"]
