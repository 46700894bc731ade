"""Reads what gateways count, from their probe ports."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2

TIMEOUT_S = 2.0


def read_gateways(addresses: Mapping[str, str]) -> dict[str, str]:
    """The text of `/metrics` of each gateway, by name, from the addresses (`host:port`) of their probe ports.

    One that does not answer is left out: the others' figures are shown.
    """
    if not addresses:
        return {}
    # Nothing is encrypted here: without `verify` no authorities are read for each look.
    with (
        httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=False) as client,
        ThreadPoolExecutor(max_workers=min(8, len(addresses))) as pool,
    ):
        texts = pool.map(partial(_read, client), addresses.values())
        return {name: text for name, text in zip(addresses, texts, strict=True) if text}


def _read(client: httpx2.Client, address: str) -> str:
    try:
        answer = client.get(f"http://{address}/metrics")
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return ""
    return answer.text if answer.status_code == httpx2.codes.OK else ""
