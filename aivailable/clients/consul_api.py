"""How Consul is asked: with deadlines, again where that may help, and with our errors."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from consul import Consul
from consul.callback import CB
from consul.exceptions import ACLDisabled, ACLPermissionDenied, BadRequest, ClientError, ConsulException

from aivailable.clients.json_stream import list_entries
from aivailable.errors import PermanentError, RetryableError, UserError
from aivailable.settings import ConsulSettings

TIMEOUT_S = 10.0
ATTEMPTS = 3
RETRY_DELAY_S = 0.3

NOTHING = 'Service.ID == "-" and Service.ID != "-"'
"""A filter of services that none passes."""
CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


class ConsulApi:
    """One Consul agent. Any thread may use it. `consul` is the library's handle, to be used within `ask`."""

    def __init__(self, settings: ConsulSettings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._where = settings.address
        self._sleep = sleep
        parts = urlsplit(settings.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(
                f"CONSUL_HTTP_ADDR={settings.address}: expected http://HOST:PORT", hint="correct that variable"
            )
        self.consul = Consul(
            host=parts.hostname,
            port=parts.port or 8500,
            scheme=parts.scheme,
            token=settings.token or None,
            verify=False if settings.skip_verify else (settings.cacert or True),
            cert=(settings.client_cert, settings.client_key) if settings.client_cert else None,
            connections_timeout=TIMEOUT_S,
        )
        # Proxies of the environment are for the way out; Consul is in the house.
        self.consul.http.session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self.consul.http.session.close()

    def index(self, query: Callable[..., Any], since: int, timeout_s: float) -> int:
        """One blocking query; an index that went backwards starts again, as Consul's documentation asks."""
        wait = {"index": since, "wait": f"{max(1, round(timeout_s * 1000))}ms"} if since else {}
        index = int(self.ask(lambda: query(**wait))[0])
        return index if index >= since else 0

    def index_of(self, path: str, **query: object) -> tuple[int, None]:
        """Consul's index of a list of services, without the list: the filter lets nothing through.

        Raises:
            ConsulException: Consul refuses, or does not answer; see `ask`.
        """
        params = [("filter", NOTHING), *query.items()]
        index, _ = self.consul.http.get(
            CB.json(index=True), path, params=params, headers=self.consul.prepare_headers(None)
        )
        return int(index), None

    @contextmanager
    def entries(self, path: str) -> Iterator[tuple[int, Iterator[Any]]]:
        """A list with Consul's index of it, entry by entry as it arrives: Consul has no pages.

        Raises:
            ConsulException: Consul refuses, or does not answer; see `ask`.
        """
        http = self.consul.http
        with http.session.get(
            http.uri(path),
            headers=self.consul.prepare_headers(None),
            verify=http.verify,
            cert=http.cert,
            timeout=TIMEOUT_S,
            stream=True,
        ) as response:
            if not response.ok:
                CB.json(allow_404=False)(http.response(response))  # raises
            yield (
                int(response.headers.get("X-Consul-Index", "0")),
                list_entries(response.iter_content(CHUNK_BYTES)),
            )

    def ask(self, question: Callable[[], T]) -> T:
        """Ask Consul; what may work later is tried again, as every question here may be repeated.

        Raises:
            UserError: It refuses.
            PermanentError: A session is gone.
            RetryableError: It does not answer.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return question()
            except (ACLDisabled, ACLPermissionDenied) as error:
                raise UserError(
                    f"Consul refuses: {error}", hint="set CONSUL_HTTP_TOKEN to a token with a policy of deploy/policies"
                ) from error
            except (BadRequest, ClientError) as error:
                raise UserError(f"Consul refuses: {error}") from error
            except (ConsulException, requests.RequestException) as error:
                if "invalid session" in str(error):
                    raise PermanentError(f"Consul refuses: {error}") from error
                if attempt == ATTEMPTS:
                    raise RetryableError(
                        f"Consul at {self._where} does not answer: {error}",
                        hint="is the agent up? CONSUL_HTTP_ADDR says where it is looked for",
                    ) from error
            self._sleep(RETRY_DELAY_S * attempt * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        raise AssertionError("unreachable")
