"""Asks a model through the gateway, as any OpenAI client would."""

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from aivailable.errors import AivailableError, PermanentError, RetryableError, UserError

CONNECT_TIMEOUT_S = 5.0
TOKEN_TIMEOUT_S = 120.0
"""Longest silence between two pieces of an answer; a slow card reads a long prompt before its first token."""

RETRY_DELAY_S = 0.2
"""Between two tries while the gateway knows no instance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One chat completion. `temperature` None leaves it to the engine."""

    model: str
    messages: Sequence[dict[str, str]]
    max_tokens: int
    temperature: float | None = None

    def body(self, *, stream: bool) -> dict[str, object]:
        """The JSON body as sent."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": list(self.messages),
            "max_tokens": self.max_tokens,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if stream:
            body["stream"] = True
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Which certificates will do: of the authorities in `ca` (default: the system's), or any if not `checked`."""

    ca: Path | None = None
    checked: bool = True


def stream_chat(
    base_url: str, key: str, request: ChatRequest, *, patience_s: float = 0.0, trust: Trust | None = None
) -> Iterator[str]:
    """The pieces of the answer as they come.

    A gateway reads its endpoints a moment after an instance is healthy, so one asked too early answers 503.

    Args:
        base_url: The gateway's address, ending in `/v1`.
        key: The API key.
        request: What to ask.
        patience_s: How long to go on asking while no instance answers, seconds.
        trust: Which certificates are good enough; by default those of the system's authorities.

    Raises:
        UserError: The gateway refuses the request (4xx), in its words.
        RetryableError: No instance serves the model at the moment (503), or the gateway cannot be reached.
        PermanentError: Anything else.
    """
    deadline = time.monotonic() + patience_s
    while True:
        begun = False
        try:
            for piece in _answer(base_url, key, request, trust or Trust()):
                begun = True
                yield piece
        except RetryableError:
            if begun or time.monotonic() + RETRY_DELAY_S > deadline:
                raise
            time.sleep(RETRY_DELAY_S)
        else:
            return


def _answer(base_url: str, key: str, request: ChatRequest, trust: Trust) -> Iterator[str]:
    timeout = httpx2.Timeout(TOKEN_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with (
            httpx2.Client(timeout=timeout, trust_env=False, verify=_context(trust)) as client,
            client.stream(
                "POST",
                f"{base_url}/chat/completions",
                headers={"authorization": f"Bearer {key}"},
                json=request.body(stream=True),
            ) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                response.read()
                raise _refused(response)
            yield from _pieces(response)
    except httpx2.TransportError as error:
        raise RetryableError(
            f"no answer from {base_url}: {error or type(error).__name__}",
            hint="is the gateway up? see `aivailable status`",
        ) from error


def _context(trust: Trust) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=trust.ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"{trust.ca}: no certificates: {error}", hint="check AIVAILABLE_TLS_CA") from error
    if not trust.checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _pieces(response: httpx2.Response) -> Iterator[str]:
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        if "error" in event:
            raise PermanentError(f"the engine failed while answering: {event['error'].get('message', event['error'])}")
        for choice in event.get("choices", ()):
            if piece := choice.get("delta", {}).get("content"):
                yield piece


def _refused(response: httpx2.Response) -> AivailableError:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text.strip() or response.reason_phrase
    text = f"the gateway answered {response.status_code}: {message}"
    if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
        return RetryableError(text, hint="see `aivailable status`; try again in a moment")
    if response.is_client_error:
        return UserError(text, hint="see `aivailable fleet` for the models there are")
    return PermanentError(text, hint="see `aivailable logs`")
