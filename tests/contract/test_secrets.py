"""What every store of secrets must do: the embedded one, or a real Nomad's variables."""

from pathlib import Path

import pytest

from aivailable.clients.nomad import NomadSecrets
from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import UserError
from aivailable.seams import Secrets

REAL = pytest.param("nomad", marks=pytest.mark.nomad)


@pytest.fixture(params=["embedded", REAL])
def secrets(request: pytest.FixtureRequest, tmp_path: Path) -> Secrets:
    if request.param == "embedded":
        return EmbeddedSecrets(tmp_path)
    store = NomadSecrets(request.getfixturevalue("nomad_api"))
    for prefix in ("keys", "other"):
        for path in store.list(prefix):
            store.delete(path)
    return store


def test_secrets_are_written_read_listed_and_deleted(secrets: Secrets) -> None:
    assert secrets.list("keys") == ()
    secrets.write("keys/b", {"secret": "2"})
    secrets.write("keys/a", {"secret": "1"})
    secrets.write("other/x", {"a": "b"})
    assert secrets.list("keys") == ("keys/a", "keys/b")
    assert secrets.read("keys/a") == {"secret": "1"}
    secrets.delete("keys/a")
    secrets.delete("keys/a")
    assert secrets.read("keys/a") is None
    assert secrets.list("keys") == ("keys/b",)


def test_a_path_with_a_dot_is_refused(secrets: Secrets) -> None:
    with pytest.raises(UserError, match="dots"):
        secrets.write("keys/a.b", {})


def test_a_write_changes_the_index(secrets: Secrets) -> None:
    before = secrets.changed(0, 0.05)
    secrets.write("keys/a", {"secret": "1"})
    assert secrets.changed(before, 1.0) != before


def test_the_embedded_file_is_for_its_owner_only(tmp_path: Path) -> None:
    EmbeddedSecrets(tmp_path).write("keys/a", {"secret": "1"})
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
