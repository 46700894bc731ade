"""litellm as a client, in a virtual environment of its own: it brings sixty packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.front import front
from tests.processes import ROOT, eventually, stand_ins
from tests.samples import fleet, model

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

SCRIPT = """
import sys, litellm
litellm.suppress_debug_info = True
base, key = sys.argv[1:]
ask = dict(model="openai/m-a", api_base=base, api_key=key, messages=[{"role": "user", "content": "hi"}], max_tokens=2)
print(litellm.completion(**ask).choices[0].message.content)
print("".join(c.choices[0].delta.content or "" for c in litellm.completion(stream=True, **ask)))
try:
    litellm.completion(**{**ask, "model": "openai/gpt-9"})
except litellm.NotFoundError as error:
    print("NotFoundError", "gpt-9" in str(error))
try:
    litellm.completion(**{**ask, "api_key": "sk-wrong"})
except litellm.AuthenticationError:
    print("AuthenticationError")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    folder = ROOT / ".bench" / "litellm"
    if not (folder / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "litellm"], check=True, timeout=600)
    return folder / "bin" / "python"


def test_litellm_chats_streams_and_raises_what_its_users_expect(python: Path, tmp_path: Path) -> None:
    with stand_ins(1) as engines, front(tmp_path) as gate:
        gate.set_key("all", "sk-all")
        gate.set_fleet(fleet(model("m-a")))
        gate.set_instances({"m-a": [engines[0].port]})
        with gate.client() as client:
            eventually(lambda: client.post("/v1/embeddings", json={"model": "m-a"}).status_code == 200)
        done = subprocess.run(
            [python, "-c", SCRIPT, f"{gate.url}/v1", "sk-all"], capture_output=True, text=True, check=False, timeout=120
        )

    assert [line.strip() for line in done.stdout.splitlines() if line.strip()] == [
        "word0 word1",
        "word0 word1",
        "NotFoundError True",
        "AuthenticationError",
    ], done.stderr
