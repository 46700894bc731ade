"""Reads what gateways count, from their probe ports."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx2

TIMEOUT_S = 2.0


def read_gateways(addresses: Mapping[str, str]) -> dict[str, str]:
    """The text of `/metrics` of each gateway, by name, from the addresses (`host:port`) of their probe ports.

    One that does not answer is left out: the others' figures are shown.
    """
    if not addresses:
        return {}
    with ThreadPoolExecutor(max_workers=min(8, len(addresses))) as pool:
        texts = pool.map(_read, addresses.values())
        return {name: text for name, text in zip(addresses, texts, strict=True) if text}


def _read(address: str) -> str:
    try:
        answer = httpx2.get(f"http://{address}/metrics", timeout=TIMEOUT_S, trust_env=False)
    except httpx2.HTTPError:
        return ""
    return answer.text if answer.status_code == httpx2.codes.OK else ""
