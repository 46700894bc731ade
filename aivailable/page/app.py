"""The HTTP application: static files for everybody, the picture for whoever has a key, metrics for Prometheus."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aivailable.controller.picture import Picture
from aivailable.errors import AivailableError
from aivailable.model.service import ApiKey
from aivailable.page.access import Keyring
from aivailable.page.looking import Live, Seen
from aivailable.page.rights import seen_by

STATIC = Path(__file__).parent / "static"
METRICS_READERS = 2
SILENCE_S = 15.0
"""After so long without a change a comment tells the browser, and whatever stands between, that the stream lives."""

_HEADERS = {
    # The chat goes to gateways, whose addresses differ; scripts and styles are ours alone.
    "content-security-policy": "default-src 'self'; connect-src 'self' http: https:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def application(live: Live, keyring: Keyring, metrics: CollectorRegistry) -> Starlette:
    """The page with its data, and the metrics."""
    page = _Page(live, keyring)
    return Starlette(
        routes=[
            Route("/metrics", _metrics(metrics)),
            Route("/api/picture", page.picture),
            Route("/api/live", page.live),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ],
        middleware=[Middleware(_SafeHeaders)],
        exception_handlers={HTTPException: _refused, AivailableError: _broken},
    )


def document(seen: Seen, key: ApiKey) -> dict[str, Any]:
    """What is sent to a browser: the picture as the key may see it, whose key it is, and where the gateways are."""
    shown = None if seen.picture is None else _document(seen_by(seen.picture, key))
    return {
        "you": {"id": key.id, "models": list(key.models)},
        "gateways": list(seen.base_urls),
        "trouble": seen.trouble,
        "picture": shown,
    }


def _document(shown: Picture) -> dict[str, Any]:
    """A picture as JSON, with what follows from it."""
    found = asdict(shown)
    for node, node_found in zip(shown.nodes, found["nodes"], strict=True):
        for card, card_found in zip(node.cards, node_found["cards"], strict=True):
            card_found["booked_mib"] = card.booked_mib
            for tenant, tenant_found in zip(card.tenants, card_found["tenants"], strict=True):
                tenant_found["over"] = tenant.over
    for model, model_found in zip(shown.models, found["models"], strict=True):
        model_found["waiting"] = model.waiting
    return found


class _Page:
    """The two ways to the picture: once, and as it changes."""

    def __init__(self, live: Live, keyring: Keyring) -> None:
        self._live = live
        self._keyring = keyring

    async def picture(self, request: Request) -> Response:
        """The picture of now, as JSON."""
        key = await self._key(request)
        async with aclosing(self._live.follow()) as pictures:
            return JSONResponse(document(await anext(pictures), key))

    async def live(self, request: Request) -> Response:
        """Pictures as server-sent events `picture`, whenever one differs from the one before."""
        await self._key(request)
        return StreamingResponse(self._events(request), media_type="text/event-stream")

    async def _events(self, request: Request) -> AsyncGenerator[bytes]:
        sent, sent_at_s = "", time.monotonic()
        async with aclosing(self._live.follow()) as pictures:
            async for seen in pictures:
                try:
                    key = await self._key(request)
                except HTTPException as error:  # revoked or ended while it looked
                    yield _event("denied", json.dumps({"message": error.detail}))
                    return
                found = document(seen, key)
                at_s = found["picture"].pop("at_s") if found["picture"] else 0
                text = json.dumps(found)
                if text != sent:
                    sent, sent_at_s = text, time.monotonic()
                    yield _event("picture", json.dumps({**found, "at_s": at_s}))
                elif time.monotonic() - sent_at_s >= SILENCE_S:
                    sent_at_s = time.monotonic()
                    yield b": nothing new\n\n"

    async def _key(self, request: Request) -> ApiKey:
        header = request.headers.get("authorization", "")
        key = await asyncio.to_thread(self._keyring.key_of, header, now_s=time.time())
        if key is None:
            raise HTTPException(401, "this needs an API key that is good now")
        return key


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def _metrics(registry: CollectorRegistry) -> Callable[[Request], Awaitable[Response]]:
    readers = ThreadPoolExecutor(max_workers=METRICS_READERS, thread_name_prefix="metrics")

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # Reading them asks every node for what its drivers say: slow ones may not hold up the page's own threads.
        text = await asyncio.get_running_loop().run_in_executor(readers, encode, registry)
        return Response(text, headers={"content-type": content_type})

    return metrics


async def _refused(_: Request, error: Exception) -> Response:
    status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    hint = "send `Authorization: Bearer KEY`; `aivailable keys create NAME` makes one" if status == 401 else ""
    return JSONResponse({"error": {"message": text, "hint": hint}}, status_code=status)


async def _broken(_: Request, error: Exception) -> Response:
    message, hint = (error.message, error.hint) if isinstance(error, AivailableError) else (str(error), "")
    return JSONResponse({"error": {"message": message, "hint": hint}}, status_code=503)


class _SafeHeaders:
    """Headers that keep strangers' scripts out, on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                known = {name for name, _ in headers}
                headers += [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in known]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
