"""HTTPS for clients: a certificate from files, both versions of HTTP, a renewed one without a restart."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aivailable.errors import UserError
from aivailable.gateway.tls import certificate, with_own_certificate
from aivailable.settings import Settings, load
from tests.gateway.front import Front, front
from tests.processes import eventually, stand_ins
from tests.samples import fleet, model

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no `openssl` on PATH to make certificates"),
]

BODY = {"model": "m-a", "messages": [{"role": "user", "content": "hi"}]}


def make(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", chain, "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return chain, key


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Front]:
    chain, key = make(tmp_path, "first")
    state = tmp_path / "state"
    state.mkdir()
    with stand_ins(1) as engines, front(state, tls_certificate=chain, tls_key=key) as running:
        running.set_key("all", "sk-all")
        running.set_fleet(fleet(model("m-a")))
        running.set_instances({"m-a": [engines[0].port]})
        yield running


def shows(gate: Front, chain: Path) -> bool:
    """Whether the gateway shows this certificate."""
    shown = ssl.get_server_certificate(("127.0.0.1", gate.envoy.http_port), timeout=5)
    return "".join(shown.split()) == "".join(chain.read_text().split())


def test_clients_speak_https_in_both_versions(gate: Front, tmp_path: Path) -> None:
    ca = ssl.create_default_context(cafile=tmp_path / "first.pem")
    url = gate.url.replace("http://", "https://")
    headers = {"authorization": "Bearer sk-all"}
    with httpx.Client(base_url=url, headers=headers, verify=ca, trust_env=False) as client:
        eventually(lambda: client.post("/v1/chat/completions", json=BODY).status_code == 200)
    curl = ["curl", "-s", "--http2", "--cacert", tmp_path / "first.pem", "-o", "/dev/null", "-w", "%{http_version}"]
    done = subprocess.run([*curl, f"{url}/v1/models"], capture_output=True, text=True, check=False, timeout=20)
    assert done.stdout == "2"
    assert httpx.get(f"http://127.0.0.1:{gate.envoy.probe_port}/ready", trust_env=False).status_code == 200


def test_plain_http_and_old_tls_are_refused(gate: Front) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{gate.url}/v1/models", trust_env=False)
    address = f"127.0.0.1:{gate.envoy.http_port}"
    old = ["openssl", "s_client", "-connect", address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(old, input="", capture_output=True, text=True, check=False, timeout=20)
    assert "BEGIN CERTIFICATE" not in done.stdout


def test_a_renewed_certificate_needs_no_restart_and_a_broken_one_changes_nothing(gate: Front, tmp_path: Path) -> None:
    first, first_key = tmp_path / "first.pem", tmp_path / "first.key"
    before = tmp_path / "before.pem"
    shutil.copy(first, before)
    pid = gate.envoy.pid
    chain, key = make(tmp_path, "second")
    first_key.write_text("no key")
    with pytest.raises(UserError, match="not a certificate"):
        certificate(settings(first, first_key))
    written = (gate.state / "gateway" / "tls.json").read_text()
    gate.set_key("other", "sk-other")
    assert shows(gate, before)
    assert (gate.state / "gateway" / "tls.json").read_text() == written
    shutil.copy(key, first_key)
    shutil.copy(chain, first)

    eventually(lambda: shows(gate, chain))
    assert gate.envoy.pid == pid
    assert (gate.state / "gateway" / "tls.json").stat().st_mode & 0o077 == 0


def test_a_certificate_of_its_own_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    asked = Settings(tls_self_signed=True)
    made, again = with_own_certificate(asked, tmp_path), with_own_certificate(asked, tmp_path)

    assert asked.gateway_scheme == made.gateway_scheme == "https"
    assert certificate(made) == certificate(again) is not None
    assert made.tls_key is not None
    assert made.tls_key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UserError, match="exclude each other"):
        load({"AIVAILABLE_TLS_SELF_SIGNED": "1", "AIVAILABLE_TLS_CERTIFICATE": "a", "AIVAILABLE_TLS_KEY": "b"})
    assert with_own_certificate(Settings(), tmp_path) == Settings()


def settings(chain: Path, key: Path) -> Settings:
    return Settings(tls_certificate=chain, tls_key=key)


def test_files_that_are_no_pair_are_told(tmp_path: Path) -> None:
    one, other = make(tmp_path, "one"), make(tmp_path, "other")

    for chain, key in ((one[0], other[1]), (one[1], one[1]), (tmp_path / "none.pem", one[1]), (one[0], tmp_path)):
        with pytest.raises(UserError) as told:
            certificate(settings(chain, key))
        assert told.value.hint
    with pytest.raises(UserError, match="go together"):
        load({"AIVAILABLE_TLS_KEY": str(one[1])})
    assert certificate(Settings()) is None
