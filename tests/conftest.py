"""What every ring of tests shares: a parsed-once HCL grammar and a few plain objects to build on."""

import hcl2
import pytest


@pytest.fixture(scope="session", autouse=True)
def warm_hcl() -> None:
    """python-hcl2 builds its grammar at the first parse (over a second): once, before any test is timed."""
    hcl2.loads("a = 1\n")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the settings or the state of whoever runs it."""
    monkeypatch.setenv("AIVAILABLE_STATE", str(tmp_path_factory.mktemp("state")))
    for variable in ("NOMAD_ADDR", "CONSUL_HTTP_ADDR", "AIVAILABLE_LLAMACPP_COMMAND"):
        monkeypatch.delenv(variable, raising=False)
