"""Nomad's HTTP API: one connection pool, one error vocabulary, deadlines, retries, blocking queries, the event stream.

Speaks to an agent by address, or from within a job through the task API's Unix socket, which needs neither address nor
certificates and always is the local agent.
"""

import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from aivailable.errors import AivailableError, PermanentError, RetryableError, UserError
from aivailable.settings import NomadSettings

TIMEOUT_S = 15.0
"""Deadline of one ordinary request."""
CONNECT_TIMEOUT_S = 3.0
BLOCKING_SLACK_S = 10.0
"""Added to a blocking query's wait: Nomad adds up to a sixteenth of it, and the answer must travel."""
STREAM_SILENCE_S = 30.0
"""The event stream sends a heartbeat every 10 s; three missed ones mean that the connection is dead."""
QueryValue = str | int | Sequence[str]

_PASSING = (
    *("leader", "rpc error: EOF", "failed to get conn", "No path to region", "no servers"),
    "error authenticating request",  # by a task's socket, which asks the servers who the task is; refused is 403
)
"""What an agent says when it cannot reach its servers."""
ATTEMPTS = 3
RETRY_DELAY_S = 0.3


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded answer with Nomad's index, and what to ask for the next page of a list; empty: there is none."""

    body: Any
    index: int
    next_token: str = ""


class NomadApi:
    """Requests to one Nomad. Any thread may use it."""

    def __init__(self, settings: NomadSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._where = settings.unix_address or settings.address
        socket = settings.unix_address.removeprefix("unix://")
        self._client = httpx2.Client(
            base_url="http://localhost" if socket else settings.address,
            transport=httpx2.HTTPTransport(
                uds=socket or None, verify=_tls(settings), limits=httpx2.Limits(max_connections=50)
            ),
            headers={"X-Nomad-Token": settings.token} if settings.token else {},
            timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections; a call under way fails."""
        self._client.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._client.is_closed

    @property
    def settings(self) -> NomadSettings:
        """How it is spoken to."""
        return self._settings

    @property
    def where(self) -> str:
        """The address that is spoken to, for messages."""
        return self._where

    def get(self, path: str, /, **query: QueryValue) -> Any:
        """The decoded answer, or None where there is nothing (404).

        Raises:
            UserError: The token may not read it.
            RetryableError: Nomad cannot be reached or has no leader.
        """
        answer = self._answer("GET", path, query)
        return answer.body if answer else None

    def get_when_changed(self, path: str, since: int, timeout_s: float, **query: QueryValue) -> Answer:
        """A blocking query: answers when the index passes `since`, else after `timeout_s`.

        Raises:
            AivailableError: As `get`.
        """
        blocking = {**query, "index": since, "wait": f"{round(timeout_s * 1000)}ms"} if since else query
        answer = self._answer("GET", path, blocking, timeout_s=timeout_s + BLOCKING_SLACK_S)
        return answer or Answer(body=None, index=since)

    def index(self, path: str, /, **query: QueryValue) -> int:
        """Nomad's index of a list that can be had in pages: the number of the last write to what it lists.

        Raises:
            AivailableError: As `get`.
        """
        return next(self.pages(path, 1, **query)).index

    def pages(self, path: str, per_page: int, /, **query: QueryValue) -> Iterator[Answer]:
        """A list in pages of at most `per_page` entries, so that its length does not decide what it takes in memory.

        What changes between two pages is seen as it was or as it is: the index of a later page has risen then.

        Raises:
            AivailableError: As `get`.
        """
        token = ""
        while True:
            asked = {**query, "per_page": per_page, **({"next_token": token} if token else {})}
            answer = self._answer("GET", path, asked) or Answer(body=None, index=0)
            yield answer
            token = answer.next_token
            if not token:
                return

    def put(self, path: str, body: object, /, **query: QueryValue) -> Any:
        """Write and decode the answer.

        Raises:
            UserError: Nomad refuses it, with its words.
            RetryableError: Nomad cannot be reached or has no leader.
        """
        answer = self._answer("PUT", path, query, body=body)
        return answer.body if answer else None

    def delete(self, path: str, /, **query: QueryValue) -> None:
        """Delete; what is not there is no error.

        Raises:
            AivailableError: As `put`.
        """
        self._answer("DELETE", path, query)

    @contextmanager
    def lines(self, path: str, /, *, silence_s: float | None = STREAM_SILENCE_S, **query: QueryValue) -> Iterator[Any]:
        """An endless answer line by line.

        Raises:
            AivailableError: It cannot be opened, or it broke.
        """
        timeout = httpx2.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S, read=silence_s)
        try:
            with self._client.stream("GET", path, params=self._query(query), timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _refused(response.status_code, response.text, path)
                yield response.iter_lines()
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        except RuntimeError as error:
            if not self.closed:
                raise
            raise RetryableError(f"the connection to Nomad at {self._where} is closed") from error

    def content(self, path: str, /, *, timeout_s: float = TIMEOUT_S, **query: QueryValue) -> bytes:
        """A plain answer, empty where there is nothing.

        Raises:
            AivailableError: As `get`.
        """
        answer = self._answer("GET", path, query, timeout_s=timeout_s, plain=True)
        return answer.body if answer else b""

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, QueryValue],
        *,
        body: object = None,
        timeout_s: float = TIMEOUT_S,
        plain: bool = False,
    ) -> Answer | None:
        """One answer; what may work later is tried again, as every write here may be repeated.

        But not what took long to fail: whoever asked has waited enough, and may see the world as it was.
        """
        again_until_s = time.monotonic() + timeout_s / 2
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = self._client.request(
                    method,
                    path,
                    params=self._query(query),
                    json=body,
                    timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
                )
                if response.status_code == httpx2.codes.NOT_FOUND:
                    return None
                if not response.is_success:
                    raise _refused(response.status_code, response.text, path)
                index = int(response.headers.get("x-nomad-index", "0"))
                return Answer(
                    body=response.content if plain else _decoded(response.content),
                    index=index,
                    next_token=response.headers.get("x-nomad-nexttoken", ""),
                )
            except httpx2.TransportError as error:
                failure: AivailableError = self._unreachable(error)
            except RetryableError as error:
                failure = error
            if attempt == ATTEMPTS or time.monotonic() > again_until_s:
                raise failure
            self._sleep(RETRY_DELAY_S * attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        raise AssertionError("unreachable")

    def _query(self, query: Mapping[str, QueryValue]) -> dict[str, QueryValue]:
        common = {"region": self._settings.region, "namespace": self._settings.namespace}
        return {**{name: value for name, value in common.items() if value}, **query}

    def _unreachable(self, error: Exception) -> RetryableError:
        return RetryableError(
            f"Nomad at {self._where} does not answer: {error or type(error).__name__}",
            hint="is the agent up? NOMAD_ADDR says where it is looked for",
        )


def _decoded(content: bytes) -> Any:
    return json.loads(content) if content.strip() else None


def _refused(status: int, text: str, path: str) -> AivailableError:
    words = text.strip() or f"status {status}"
    if status == httpx2.codes.FORBIDDEN:
        return UserError(
            f"Nomad refuses {path}: {words}", hint="set NOMAD_TOKEN to a token with a policy of deploy/policies"
        )
    passing = any(said in words for said in _PASSING) or status in (429, 502, 503, 504)
    if passing:
        return RetryableError(f"Nomad cannot answer {path} now: {words}", hint="try again in a moment")
    if status < httpx2.codes.INTERNAL_SERVER_ERROR:
        return UserError(f"Nomad refuses {path}: {words}")
    return PermanentError(f"Nomad failed at {path}: {words}", hint="its log says more")


def _tls(settings: NomadSettings) -> ssl.SSLContext | bool:
    if not settings.address.startswith("https"):
        return False
    if settings.skip_verify:
        return False
    try:
        context = ssl.create_default_context(cafile=settings.cacert or None, capath=settings.capath or None)
        if settings.client_cert:
            context.load_cert_chain(settings.client_cert, settings.client_key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f for f in (settings.cacert, settings.client_cert, settings.client_key) if f)
        raise UserError(
            f"NOMAD_CACERT, NOMAD_CLIENT_CERT or NOMAD_CLIENT_KEY ({files}): {error}", hint="name readable PEM files"
        ) from error
    return context
