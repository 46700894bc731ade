"""What node.sh writes, below another root: every mode, twice, and nothing that it does not own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.scripts import CONSUL_D, DEPLOY, NOMAD_D, SIMULATED, empty_root, make, node_sh, read_hcl, tree

JOIN = ("--join", "10.0.0.1", "--join", "server.lan")
MODES = {
    "server": ("--server",),
    "three servers": ("--server", "--servers", "3", *JOIN),
    "client": ("--client", *JOIN),
    "simulated client": ("--client", *JOIN, *SIMULATED, "--class", "turing", "--rack", "rack1"),
    "both": ("--server", "--client", *SIMULATED),
    "open, with ACLs": ("--server", "--client", "--open-api", "--acl", "--consul-acl", "--slice-mib", "1024"),
}
mode = pytest.mark.parametrize("words", MODES.values(), ids=MODES)


@mode
def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    root = empty_root(tmp_path)
    assert "files are in place" in make(root, *words)
    before = tree(root)

    assert make(root, *words) == "nothing to change: n1 is a node already\n"
    assert tree(root) == before


@mode
def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    before = tree(empty_root(tmp_path))
    said = make(tmp_path, *words, "--dry-run")
    assert tree(tmp_path) == before

    done = make(tmp_path, *words)
    planned = {line.split()[-1] for line in said.splitlines() if line.startswith("would ")}
    assert planned == {line.split()[-1] for line in done.splitlines() if line.startswith(("wrote", "made", "linked"))}


@mode
def test_all_of_it_is_hcl_and_nothing_is_left_to_fill_in(tmp_path: Path, words: tuple[str, ...]) -> None:
    make(empty_root(tmp_path), *words)

    files = [*(tmp_path / NOMAD_D).iterdir(), *(tmp_path / CONSUL_D).iterdir()]
    assert all(read_hcl(file) for file in files)
    assert not [name for name, (_, text) in tree(tmp_path).items() if "@" in text.replace("$@", "")]


@mode
@pytest.mark.nomad
@pytest.mark.skipif(shutil.which("nomad") is None, reason="no `nomad` on PATH")
def test_nomad_takes_its_configuration(tmp_path: Path, words: tuple[str, ...]) -> None:
    make(empty_root(tmp_path), *words)
    done = subprocess.run(
        ["nomad", "config", "validate", str(tmp_path / NOMAD_D)], capture_output=True, text=True, check=False
    )
    assert "Configuration is valid!" in done.stdout + done.stderr


@mode
@pytest.mark.consul
@pytest.mark.skipif(shutil.which("consul") is None, reason="no `consul` on PATH")
def test_consul_takes_its_configuration(tmp_path: Path, words: tuple[str, ...]) -> None:
    make(empty_root(tmp_path), *words)
    done = subprocess.run(["consul", "validate", str(tmp_path / CONSUL_D)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_values_arrive_where_they_belong(tmp_path: Path) -> None:
    make(empty_root(tmp_path), *MODES["simulated client"], "--slice-mib", "256", "--datacenter", "cellar")

    common = read_hcl(tmp_path / NOMAD_D / "aivailable.hcl")
    assert (common["name"], common["datacenter"], common["bind_addr"]) == ("n1", "cellar", "10.0.0.5")
    whole = read_hcl(tmp_path / NOMAD_D / "aivailable-client.hcl")
    (client,) = whole["client"]
    assert (client["node_class"], client["cni_path"]) == ("turing", "/usr/lib/cni")
    assert client["server_join"][0]["retry_join"] == ["10.0.0.1", "server.lan"]
    assert client["meta"][0]["rack"] == "rack1"
    (config,) = next(p["aivailable-gpu"] for p in whole["plugin"] if "aivailable-gpu" in p)["config"]
    assert config == {
        "inventories": ["simulated"],
        "simulated": "/etc/aivailable/inventory.toml",
        "node": "node1",
        "slice_mib": 256,
        "state": "/var/lib/aivailable/gpu",
    }
    assert read_hcl(tmp_path / CONSUL_D / "aivailable.hcl")["retry_join"] == ["10.0.0.1", "server.lan"]


def test_the_apis_are_on_loopback_unless_they_are_opened(tmp_path: Path) -> None:
    def addresses() -> tuple[str, str]:
        nomad = read_hcl(tmp_path / NOMAD_D / "aivailable.hcl")["addresses"][0]["http"]
        return nomad, read_hcl(tmp_path / CONSUL_D / "aivailable.hcl")["addresses"][0]["http"]

    make(empty_root(tmp_path), "--server")
    assert addresses() == ("127.0.0.1", "127.0.0.1 unix:///run/consul/http.sock")
    make(tmp_path, "--server", "--open-api")
    assert addresses() == ("127.0.0.1 10.0.0.5", "127.0.0.1 10.0.0.5 unix:///run/consul/http.sock")


def test_a_host_that_becomes_something_else_loses_the_part_it_no_longer_has(tmp_path: Path) -> None:
    make(empty_root(tmp_path), "--server", "--client", "--slice-mib", "1024")
    own = tmp_path / NOMAD_D / "tls.hcl"
    own.write_text("# ours\n")

    said = make(tmp_path, "--client", "--join", "10.0.0.1")

    assert "removed /etc/aivailable/nomad.d/aivailable-server.hcl" in said
    assert not (tmp_path / NOMAD_D / "aivailable-server.hcl").exists()
    assert own.read_text() == "# ours\n"
    assert "slice_mib   = 1024" in (tmp_path / NOMAD_D / "aivailable-client.hcl").read_text()


def test_acls_are_not_turned_off_by_leaving_the_option_out(tmp_path: Path) -> None:
    make(empty_root(tmp_path), "--server", "--acl")

    assert "nothing to change" in make(tmp_path, "--server")
    assert (tmp_path / NOMAD_D / "aivailable-acl.hcl").exists()


def test_binaries_given_by_hand_are_copied(tmp_path: Path) -> None:
    brought = tmp_path / "brought"
    brought.write_text("#!/bin/sh\n# nomad\n")
    brought.chmod(0o755)
    root = tmp_path / "root"
    root.mkdir()
    make(root, "--server", "--nomad-binary", str(brought), "--consul-binary", str(brought))

    assert (root / "usr/local/bin/nomad").read_text() == brought.read_text()
    assert "ExecStart=/usr/local/bin/nomad agent" in (root / "etc/systemd/system/nomad.service").read_text()
    assert "nothing to change" in make(
        root, "--server", "--nomad-binary", str(brought), "--consul-binary", str(brought)
    )


def test_every_template_is_used_and_the_plugin_has_the_name_that_nomad_looks_for(tmp_path: Path) -> None:
    make(empty_root(tmp_path), *MODES["both"], "--acl", "--consul-acl")
    wrapper = tmp_path / "usr/local/lib/aivailable/plugins/aivailable-gpu"
    used = (DEPLOY / "node.sh").read_text()

    assert wrapper.stat().st_mode & 0o777 == 0o755
    for template in DEPLOY.iterdir():
        assert template.is_dir() or template.suffix == ".sh" or f" {template.name} " in used, template


INJECTIONS = ['a"b', "a|b", "a&b", "a\\b", "a b", "$(id)", "a\nb", "${x}", "../x", "-x", "ä", "a" * 64]


@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize("option", ["--class", "--rack", "--datacenter", "--join", "--node"])
def test_values_that_mean_something_to_a_shell_or_to_nomad_are_refused(tmp_path: Path, option: str, value: str) -> None:
    words = ["--client", "--join", "10.0.0.1", "--simulated", SIMULATED[1], option, value]
    done = node_sh(*words, "--root", str(empty_root(tmp_path)), "--name", "n1", "--bind", "10.0.0.5")

    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith(f"node.sh: {option} {value}: ")
    assert "\n\nhint: " in done.stderr
    assert not (tmp_path / "etc").exists()


BAD = {
    "nothing": ((), "neither --server nor --client"),
    "unknown": (("--sever",), "--sever: not known"),
    "no value": (("--server", "--class"), "--class: a value is missing"),
    "client without server": (("--client",), "--client: no server to join"),
    "two servers": (("--server", "--servers", "2"), "--servers 2: not a number of servers"),
    "slices": (("--server", "--client", "--slice-mib", "500"), "--slice-mib 500: no such size"),
    "deadline": (("--server", "--deadline", "soon"), "--deadline soon: not a time"),
    "address": (("--client", "--join", "10.0.0.256"), "--join 10.0.0.256: not an address"),
    "port": (("--client", "--join", "10.0.0.1:4647"), "IPv6 addresses and ports are not taken"),
    "cards of a server": (("--server", *SIMULATED), "are for --client"),
    "no inventory": (("--server", "--client", "--simulated", "/nowhere"), "/nowhere: no such file"),
    "no such node": (("--server", "--client", *SIMULATED[:2], "--node", "node9"), "has no such node"),
    "node alone": (("--server", "--client", "--node", "node1"), "--node goes with --simulated"),
    "package": (("--server", "--package", "a;b"), "not a requirement"),
    "binary": (("--server", "--nomad-binary", "/nowhere"), "--nomad-binary /nowhere: not a program"),
    "reslice": (("reslice", "--slice-mib", "256"), "reslice works on a living node"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_exit_code_2_with_a_hint_and_nothing_written(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    before = tree(empty_root(tmp_path))
    first = words[:1] if words[:1] == ("reslice",) else ()
    done = node_sh(*first, "--root", str(tmp_path), "--name", "n1", "--bind", "10.0.0.5", *words[len(first) :])

    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "\n\nhint: " in done.stderr
    assert tree(tmp_path) == before


@pytest.mark.parametrize("bind", ["10.0.0", "0.0.0.0", "eth0", "10.0.0.5/24", "fe80::1"])
def test_a_bad_address_of_its_own_is_refused(tmp_path: Path, bind: str) -> None:
    done = node_sh("--server", "--root", str(empty_root(tmp_path)), "--name", "n1", "--bind", bind)
    assert done.returncode == 2
    assert done.stderr.startswith(f"node.sh: --bind {bind}: ")


def test_nomad_and_consul_must_be_there(tmp_path: Path) -> None:
    done = node_sh("--server", "--root", str(tmp_path), "--name", "n1", "--bind", "10.0.0.5")
    assert done.returncode == 2
    assert "nomad is not installed" in done.stderr


HASHICORPS = ['plugin "nvidia-gpu" {\n  config {}\n}\n', '{"plugin_dir": "/x", "plugin": {"nvidia-gpu": {}}}\n']


@pytest.mark.parametrize("text", HASHICORPS)
@pytest.mark.parametrize("place", ["etc/nomad.d/nomad.hcl", f"{NOMAD_D}/own.hcl"])
def test_a_node_whose_cards_another_plugin_publishes_is_refused(tmp_path: Path, place: str, text: str) -> None:
    file = empty_root(tmp_path) / place
    file.parent.mkdir(parents=True)
    file.write_text(text)
    words = ("--client", "--join", "10.0.0.1", "--root", str(tmp_path), "--name", "n1", "--bind", "10.0.0.5")

    done = node_sh(*words)
    assert done.returncode == 2
    assert "cards would be booked twice" in done.stderr

    file.write_text('# plugin "nvidia-gpu" {}\n')
    assert node_sh(*words).returncode == 0


def test_a_nomad_of_its_own_is_not_taken_over(tmp_path: Path) -> None:
    unit = empty_root(tmp_path) / "etc/systemd/system/nomad.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/opt/nomad\n")
    done = node_sh("--server", "--root", str(tmp_path), "--name", "n1", "--bind", "10.0.0.5")

    assert done.returncode == 2
    assert "has a nomad service of its own" in done.stderr
    assert unit.read_text() == "[Service]\nExecStart=/opt/nomad\n"
