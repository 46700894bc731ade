"""What engines print about their memory while they start."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

GIB_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """MiB by term as an engine printed them; None where it did not. `on_host`: its buffers are host memory."""

    weights_mib: float | None = None
    kv_mib: float | None = None
    activation_mib: float | None = None
    graphs_mib: float | None = None
    on_host: bool = False

    def __bool__(self) -> bool:
        return self.weights_mib is not None or self.kv_mib is not None


_SIZE = r"(\d+(?:\.\d+)?)\s*(GiB|GB|MiB)"

_VLLM = {
    "weights_mib": re.compile(rf"(?:Model loading took|Loading model weights took|model weights take) {_SIZE}"),
    "kv_mib": re.compile(
        rf"(?:Available KV cache memory:|the rest of the memory reserved for KV Cache is|"
        rf"(?:initial|reserved) KV cache (?:memory|size):?) {_SIZE}"
    ),
    "activation_mib": re.compile(rf"(?:PyTorch activation peak memory takes|peak activation memory:?) {_SIZE}"),
    "graphs_mib": re.compile(rf"Graph capturing finished in .*?took {_SIZE}"),
}
"""vLLM's lines over versions; sizes that it calls GB are GiB."""

_LLAMACPP = re.compile(r"(\S+)\s+(model|KV|RS|compute) buffer size\s*=\s*(\d+(?:\.\d+)?)\s*MiB")
"""llama.cpp's lines: the backend's device, the buffer's purpose, its size. `RS` is the state of recurrent layers."""

_HOST = re.compile(r"CPU|_Host", re.IGNORECASE)
_PURPOSE = {"model": "weights_mib", "KV": "kv_mib", "RS": "kv_mib", "compute": "activation_mib"}


def read_log(lines: Iterable[str]) -> Printed:
    """What the newest start in these lines printed.

    On devices only device buffers count; a run that has none but host buffers is one on the CPU, and then those do.
    llama.cpp loads twice, first only to count: the last size of each buffer is the real one.
    """
    text = list(lines)
    found: dict[str, float] = {}
    buffers: dict[tuple[str, str], float] = {}
    for line in text:
        if buffer := _LLAMACPP.search(line):
            buffers[buffer[1], buffer[2]] = float(buffer[3])
        for term, pattern in _VLLM.items():
            if size := pattern.search(line):
                found[term] = float(size[1]) * (1 if size[2] == "MiB" else GIB_MIB)
    if not buffers:
        return _printed(found, on_host=False)
    devices = {key: size for key, size in buffers.items() if not _HOST.search(key[0])}
    on_host = not any(devices.values())
    for (_, purpose), mib in (buffers if on_host else devices).items():
        term = _PURPOSE[purpose]
        found[term] = found.get(term, 0.0) + mib
    return _printed(found, on_host=on_host)


def _printed(found: Mapping[str, float], *, on_host: bool) -> Printed:
    return Printed(
        weights_mib=found.get("weights_mib"),
        kv_mib=found.get("kv_mib"),
        activation_mib=found.get("activation_mib"),
        graphs_mib=found.get("graphs_mib"),
        on_host=on_host,
    )
