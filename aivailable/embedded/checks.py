"""HTTP health checks, as Consul makes them: any 2xx answer within the timeout passes."""

import asyncio
import contextlib

from aivailable.embedded.job import Check

STATUS_LINE_BYTES_MAX = 4096


async def passes(address: str, port: int, check: Check) -> bool:
    """Whether the check passes now."""
    try:
        async with asyncio.timeout(check.timeout_s):
            status = await _status(address, port, check.path)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    return 200 <= status < 300


async def _status(address: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(address, port, limit=STATUS_LINE_BYTES_MAX)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        line = await reader.readuntil(b"\r\n")
        return int(line.split()[1])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
