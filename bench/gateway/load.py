"""One run of wrk: requests a second, latencies, the CPU of what was asked."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.processes import cpu_s, rss_mib

SCRIPT = """
wrk.method = "POST"
local file = io.open(os.getenv("BENCH_BODY"), "rb")
wrk.body = file:read("*a")
file:close()
for name, value in string.gmatch(os.getenv("BENCH_HEADERS"), "([^:\\n]+): ([^\\n]+)") do wrk.headers[name] = value end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nBENCH {"requests":%d,"seconds":%f,"p50_us":%f,"p99_us":%f,"errors":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run gave. `cpu_us` is the CPU time that the process asked spent on each request, in microseconds."""

    rps: float
    p50_us: float
    p99_us: float
    cpu_us: float
    rss_mib: float


def body(kib: float) -> bytes:
    """A chat request of about so many KiB, the model first as clients send it."""
    document = {
        "model": "m-a",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": ""},
        ],
        "max_tokens": 64,
        "temperature": 0.7,
        "stream": False,
    }
    words = "Tell me about the old cards in this rack, and what they can still do. "
    text = json.dumps(document)
    missing = max(0, int(kib * 1024) - len(text))
    return text.replace('"content": ""', f'"content": "{(words * (missing // len(words) + 1))[:missing]}"').encode()


def ask(
    port: int, pid: int, folder: Path, *, connections: int, seconds: int, sent: bytes, headers: Mapping[str, str]
) -> Run:
    """Ask for so many seconds.

    Raises:
        RuntimeError: Anything but a good answer came.
    """
    (folder / "request.json").write_bytes(sent)
    (folder / "load.lua").write_text(SCRIPT)
    environment = {
        "BENCH_BODY": str(folder / "request.json"),
        "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in headers.items()),
    }
    command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s"]
    before = cpu_s(pid)
    done = subprocess.run(
        [*command, "-s", str(folder / "load.lua"), f"http://127.0.0.1:{port}/v1/chat/completions"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    return parse(done.stdout, cpu_s(pid) - before, rss_mib(pid))


def parse(text: str, used_s: float, resident_mib: float) -> Run:
    """The line of our script in wrk's output, with what the process used.

    Raises:
        RuntimeError: Requests failed, or there were none.
    """
    line = next(line for line in text.splitlines() if line.startswith("BENCH "))
    found = json.loads(line.removeprefix("BENCH "))
    if found["errors"] or not found["requests"]:
        raise RuntimeError(f"{found['errors']} of {found['requests']} requests failed")
    return Run(
        rps=found["requests"] / found["seconds"],
        p50_us=found["p50_us"],
        p99_us=found["p99_us"],
        cpu_us=used_s / found["requests"] * 1e6,
        rss_mib=resident_mib,
    )
