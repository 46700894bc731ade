"""Who may look at the page."""

from pathlib import Path

import pytest

from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import RetryableError
from aivailable.keystore import create_key, revoke_key
from aivailable.page.access import FRESH_S, NEW_S, Keyring


def test_a_good_key_is_known_and_nothing_else(tmp_path: Path) -> None:
    secrets = EmbeddedSecrets(tmp_path)
    alice, bob = create_key(secrets, "alice"), create_key(secrets, "bob", ("m",))
    keyring = Keyring(secrets)

    assert keyring.key_of(f"Bearer {alice.secret}", now_s=0) == alice
    assert keyring.key_of(f"bearer {bob.secret} ", now_s=0) == bob
    for header in ("", "Bearer", "Bearer ", "Bearer sk-no", alice.secret, f"Basic {alice.secret}", "Bearer \xe9"):
        assert keyring.key_of(header, now_s=0) is None


@pytest.mark.parametrize(("now_s", "good"), [(99.0, True), (100.0, False), (101.0, False)])
def test_a_key_ends(tmp_path: Path, now_s: float, *, good: bool) -> None:
    secrets = EmbeddedSecrets(tmp_path)
    key = create_key(secrets, "alice", expires_at=100.0)

    assert (Keyring(secrets).key_of(f"Bearer {key.secret}", now_s=now_s) is not None) is good


def test_a_key_that_was_just_made_is_known(tmp_path: Path) -> None:
    secrets = EmbeddedSecrets(tmp_path)
    clock = [0.0]
    keyring = Keyring(secrets, clock=lambda: clock[0])
    assert keyring.key_of("Bearer sk-none", now_s=0) is None

    key = create_key(secrets, "alice")
    clock[0] = NEW_S

    assert keyring.key_of(f"Bearer {key.secret}", now_s=0) == key


class Breaking(EmbeddedSecrets):
    """A store that does not answer while it is told not to; counts how often it is asked."""

    broken = False
    asked = 0

    def list(self, prefix: str) -> tuple[str, ...]:
        self.asked += 1
        if self.broken:
            raise RetryableError("Nomad does not answer")
        return super().list(prefix)


def test_while_the_store_does_not_answer_the_keys_read_last_hold(tmp_path: Path) -> None:
    secrets = Breaking(tmp_path)
    key = create_key(secrets, "alice")
    clock = [0.0]
    keyring = Keyring(secrets, clock=lambda: clock[0])
    assert keyring.key_of(f"Bearer {key.secret}", now_s=0)

    secrets.broken, clock[0] = True, FRESH_S
    assert keyring.key_of(f"Bearer {key.secret}", now_s=0) == key
    assert keyring.key_of("Bearer sk-wrong", now_s=0) is None
    assert secrets.asked == 2, "a store in trouble is asked as seldom as one that is well"

    secrets.broken = False
    revoke_key(secrets, "alice")
    clock[0] = 2 * FRESH_S
    assert keyring.key_of(f"Bearer {key.secret}", now_s=0) is None


def test_keys_that_were_never_read_are_told_so(tmp_path: Path) -> None:
    secrets = Breaking(tmp_path)
    secrets.broken = True
    keyring = Keyring(secrets, clock=lambda: 0.0)

    for _ in range(3):
        with pytest.raises(RetryableError):
            keyring.key_of("Bearer sk-any", now_s=0)
    assert secrets.asked == 1


def test_a_revoked_key_is_forgotten_as_soon_as_what_was_read_is_old(tmp_path: Path) -> None:
    secrets = EmbeddedSecrets(tmp_path)
    key = create_key(secrets, "alice")
    clock = [0.0]
    keyring = Keyring(secrets, clock=lambda: clock[0])
    assert keyring.key_of(f"Bearer {key.secret}", now_s=0)

    revoke_key(secrets, "alice")
    clock[0] = FRESH_S

    assert keyring.key_of(f"Bearer {key.secret}", now_s=0) is None
