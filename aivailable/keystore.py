"""API keys in the secret store: one document per key under `aivailable/keys/`, its id the last part of the path."""

import json
import re
import secrets as random_source
from dataclasses import replace

from aivailable.errors import UserError
from aivailable.model.service import KEYS_PATH, ApiKey
from aivailable.seams import Secrets

KEY_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SECRET_BYTES = 24
"""192 random bits: nobody guesses it, and it fits a line."""


def read_keys(secrets: Secrets) -> tuple[ApiKey, ...]:
    """All keys, sorted by id."""
    found = (read_key(secrets, path.rpartition("/")[2]) for path in secrets.list(KEYS_PATH))
    return tuple(key for key in found if key is not None)


def read_key(secrets: Secrets, key_id: str) -> ApiKey | None:
    """The key of that id, or None."""
    items = secrets.read(_path(key_id))
    if items is None:
        return None
    return ApiKey(
        id=key_id,
        secret=items["secret"],
        models=tuple(json.loads(items.get("models") or "[]")),
        rpm=int(items.get("rpm") or 0),
        tpm=int(items.get("tpm") or 0),
        tokens_per_day=int(items.get("tokens_per_day") or 0),
        expires_at=float(items.get("expires_at") or 0),
    )


def create_key(
    secrets: Secrets,
    key_id: str,
    models: tuple[str, ...] = (),
    *,
    rpm: int = 0,
    tpm: int = 0,
    tokens_per_day: int = 0,
    expires_at: float = 0.0,
) -> ApiKey:
    """A new key with a fresh secret.

    Args:
        secrets: The store.
        key_id: Its public name: lower case letters, digits, `_` and `-`, at most 63.
        models: What it may use; empty means everything.
        rpm: Requests per minute; 0: no limit, as with the other numbers.
        tpm: Tokens per minute.
        tokens_per_day: Tokens per day.
        expires_at: When it ends, in seconds since 1970.

    Raises:
        UserError: The id is malformed or taken.
    """
    if not KEY_ID.fullmatch(key_id):
        raise UserError(
            f"{key_id!r} cannot name a key",
            hint="use lower case letters, digits, _ and -, at most 63, beginning with a letter or digit",
        )
    if read_key(secrets, key_id) is not None:
        raise UserError(f"there is a key {key_id!r} already", hint="use `keys rotate` for a new secret")
    key = ApiKey(
        id=key_id,
        secret=_fresh_secret(),
        models=models,
        rpm=rpm,
        tpm=tpm,
        tokens_per_day=tokens_per_day,
        expires_at=expires_at,
    )
    return _write(secrets, key)


def rotate_key(secrets: Secrets, key_id: str) -> ApiKey:
    """The key with a fresh secret and its rights; the old secret is dead as soon as gateways have heard.

    Raises:
        UserError: No such key.
    """
    return _write(secrets, replace(_existing(secrets, key_id), secret=_fresh_secret()))


def revoke_key(secrets: Secrets, key_id: str) -> None:
    """Remove a key.

    Raises:
        UserError: No such key.
    """
    secrets.delete(_path(_existing(secrets, key_id).id))


def _existing(secrets: Secrets, key_id: str) -> ApiKey:
    key = read_key(secrets, key_id)
    if key is None:
        known = ", ".join(key.id for key in read_keys(secrets)) or "none"
        raise UserError(f"there is no key {key_id!r}", hint=f"there are: {known}")
    return key


def _write(secrets: Secrets, key: ApiKey) -> ApiKey:
    limits = {"rpm": key.rpm, "tpm": key.tpm, "tokens_per_day": key.tokens_per_day, "expires_at": key.expires_at}
    given = {name: str(value) for name, value in limits.items() if value}
    secrets.write(_path(key.id), {"secret": key.secret, "models": json.dumps(list(key.models)), **given})
    return key


def _path(key_id: str) -> str:
    return f"{KEYS_PATH}/{key_id}"


def _fresh_secret() -> str:
    return "sk-" + random_source.token_urlsafe(SECRET_BYTES)
