"""The page by HTTPS, where the gateways speak it."""

import shutil
import ssl
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from aivailable.embedded.secrets import EmbeddedSecrets
from aivailable.errors import UserError
from aivailable.gateway.tls import with_own_certificate
from aivailable.page.access import Keyring
from aivailable.page.app import application
from aivailable.page.looking import Live, Seen
from aivailable.page.server import Tls, serving
from aivailable.settings import Settings
from tests.processes import eventually, free_port

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no `openssl` on PATH to make certificates")


def made(folder: Path) -> Tls:
    folder.mkdir()
    settings = with_own_certificate(Settings(tls_self_signed=True), folder)
    assert settings.tls_certificate
    assert settings.tls_key
    return Tls(settings.tls_certificate, settings.tls_key)


def test_the_page_is_served_by_https_and_a_renewed_certificate_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tls, renewed = made(tmp_path / "first"), made(tmp_path / "second")
    app = application(Live(Seen), Keyring(EmbeddedSecrets(tmp_path)), CollectorRegistry())
    port = free_port()

    with serving(app, "127.0.0.1", port, tls):
        trust = ssl.create_default_context(cafile=tls.certificate)
        answer = httpx.get(f"https://127.0.0.1:{port}/", verify=trust, trust_env=False, timeout=10)
        assert answer.status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False, timeout=10)

        before = tls.certificate.read_text()
        renewed.certificate.replace(tls.certificate)
        eventually(lambda: "is not taken over" in caplog.text, timeout_s=15)
        assert ssl.get_server_certificate(("127.0.0.1", port)) == before, "half a pair changes nothing"
        renewed.key.replace(tls.key)
        wanted = tls.certificate.read_text()
        eventually(lambda: ssl.get_server_certificate(("127.0.0.1", port)) == wanted, timeout_s=15)


def test_what_is_no_certificate_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("no certificate")
    app = application(Live(Seen), Keyring(EmbeddedSecrets(tmp_path)), CollectorRegistry())
    for name in ("c", "missing"):
        bad = Tls(tmp_path / name, tmp_path / name)
        with (
            pytest.raises(UserError, match=name) as refused,
            serving(app, "127.0.0.1", free_port(), bad),
        ):
            pass
        assert "AIVAILABLE_TLS_CERTIFICATE" in refused.value.hint
