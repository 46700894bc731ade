"""What every ring of tests shares: a parsed-once HCL grammar and a few plain objects to build on."""

import shutil
from collections.abc import Iterator

import hcl2
import pytest
from hypothesis import settings

from aivailable.clients.consul import ConsulRegistry
from aivailable.clients.nomad_api import NomadApi
from aivailable.settings import ConsulSettings, NomadSettings
from tests.real.rack import Rack, consul_agent, rack, why_not

settings.register_profile("same", derandomize=True)


@pytest.fixture(scope="session", autouse=True)
def warm_hcl() -> None:
    """python-hcl2 builds its grammar at the first parse (over a second): once, before any test is timed."""
    hcl2.loads("a = 1\n")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the settings or the state of whoever runs it."""
    monkeypatch.setenv("AIVAILABLE_STATE", str(tmp_path_factory.mktemp("state")))
    for variable in (
        "NOMAD_ADDR",
        "NOMAD_TOKEN",
        "CONSUL_HTTP_ADDR",
        "CONSUL_HTTP_TOKEN",
        "AIVAILABLE_LLAMACPP_COMMAND",
        "AIVAILABLE_VLLM_CPU_PYTHON",
    ):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session")
def real_rack() -> Iterator[Rack]:
    """One rack of real agents for all tests that need one; it takes seconds to start."""
    if missing := why_not():
        pytest.skip(missing)
    with rack() as running:
        yield running


@pytest.fixture
def nomad_api(real_rack: Rack) -> Iterator[NomadApi]:
    api = NomadApi(NomadSettings(address=real_rack.nomad))
    yield api
    api.close()


@pytest.fixture
def consul_registry(real_rack: Rack) -> Iterator[ConsulRegistry]:
    registry = ConsulRegistry(ConsulSettings(address=real_rack.consul))
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def lone_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Consul of its own, on loopback: for tests that need no Nomad."""
    if shutil.which("consul") is None:
        pytest.skip("no `consul` on PATH")
    with consul_agent(tmp_path_factory.mktemp("consul")) as address:
        yield address
