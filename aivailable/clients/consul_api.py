"""How Consul is asked: with deadlines, again where that may help, and with our errors."""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from consul import Consul
from consul.exceptions import ACLDisabled, ACLPermissionDenied, BadRequest, ClientError, ConsulException

from aivailable.errors import PermanentError, RetryableError, UserError
from aivailable.settings import ConsulSettings

TIMEOUT_S = 10.0
ATTEMPTS = 3
RETRY_DELAY_S = 0.3

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
