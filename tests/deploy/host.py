"""Hosts for tests: a real systemd on a copy of this machine's files, each in namespaces of its own.

The copy is an overlay in memory, so that node.sh may do to it whatever it does to a host; network is one cable between
two hosts. Everything goes when the host's first process ends.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT, eventually

SYSTEMD = Path("/usr/lib/systemd/systemd")
PACKAGE = "stand-in[cluster]"
"""What the hosts believe to have installed: programs that start those of the environment the tests run in."""
BOOT_S = 30.0
NOT_HERE = ("systemd-sysctl", "systemd-modules-load", "systemd-udevd", "systemd-remount-fs", "systemd-binfmt")
"""Units that would reach beyond a namespace."""

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "freezer", "memory")
"""What Nomad's client asks for; each host gets a branch of its own."""

START = """
set -e
for controller in {controllers}; do
  branch={cgroups}/$controller/{branch}
  mkdir "$branch"
  if [ $controller = cpuset ]; then
    for file in cpuset.cpus cpuset.mems; do cat {cgroups}/cpuset/$file >"$branch/$file"; done
  fi
  echo $$ >"$branch/cgroup.procs"
done
exec unshare -m -n -p -f -u -i -C --kill-child sh -c {script}
"""

BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=2g scratch {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work overlay {folder}/root
cd {folder}/root
mount -t proc proc proc
mkdir {folder}/proc
mount -t proc proc {folder}/proc
mount -o bind,ro proc/sys proc/sys
mount --bind {folder}/proc/sys/net proc/sys/net
mount -t sysfs sysfs sys
mount -t tmpfs run run
mount -t tmpfs tmp tmp
mount --rbind /dev dev
for place in {places}; do mkdir -p ".$place"; mount --bind "$place" ".$place"; done
mount -t tmpfs cgroup sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
for controller in {controllers}; do
  mkdir sys/fs/cgroup/$controller
  mount -t cgroup -o $controller cgroup sys/fs/cgroup/$controller
done
mkdir -p etc/systemd/system
for unit in {masked}; do ln -sf /dev/null etc/systemd/system/$unit.service; done
rm -f etc/systemd/system/nomad.service etc/systemd/system/consul.service lib/systemd/system/consul.service
ip link set lo up
exec chroot . /usr/bin/env -i container=aivailable-test {path} {systemd} --unit=basic.target --show-status=no
"""


def why_not() -> str:
    """What is missing for such hosts; empty when nothing is."""
    for program in ("nomad", "consul", "ip", "unshare", "nsenter", "systemctl"):
        if shutil.which(program) is None:
            return f"no `{program}` on PATH"
    if os.geteuid() != 0 or not SYSTEMD.exists():
        return "booting a host in namespaces needs root and systemd"
    if not all((CGROUPS / controller / "cgroup.procs").exists() for controller in CONTROLLERS):
        return "the hosts of these tests are made for cgroups of version 1"
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "t", "/mnt"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "nothing can be mounted in a namespace here"


@dataclass
class Host:
    """One booted host. `pid` is its systemd's as seen from here."""

    folder: Path
    unshare: "subprocess.Popen[bytes]"
    pid: int

    def run(self, *words: str, timeout_s: float = 90, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command on the host as root."""
        given = [f"{name}={value}" for name, value in {"PATH": PATH, "HOME": "/root", **variables}.items()]
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-i", "-u", "-r", "-w"]
        return subprocess.run(
            [*enter, "env", "-i", *given, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    def ok(self, *words: str, timeout_s: float = 90, **variables: str) -> str:
        done = self.run(*words, timeout_s=timeout_s, **variables)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}\n{self.journal()}"
        return done.stdout + done.stderr

    def node_sh(self, *words: str, timeout_s: float = 90) -> str:
        return self.ok(str(ROOT / "deploy" / "node.sh"), *words, timeout_s=timeout_s)

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-n", "40", "-u", "nomad", "-u", "consul").stdout

    def install(self) -> None:
        """The programs of AIvailable, as if pip had brought them."""
        modules = {
            "aivailable": "aivailable",
            "aivailable-gpu": "aivailable.devices",
            "aivailable-llamacpp": "aivailable.engines.llamacpp",
        }
        lines = ["mkdir -p /opt/aivailable/bin"]
        for name, module in modules.items():
            text = f'#!/bin/sh\\nexec {sys.executable} -m {module} "$@"\\n'
            lines.append(f"printf '{text}' >/opt/aivailable/bin/{name}; chmod 755 /opt/aivailable/bin/{name}")
        lines.append(f"echo '{PACKAGE}' >/opt/aivailable/node.package")
        self.ok("sh", "-c", "\n".join(lines))

    def end(self) -> None:
        """Nothing of it is left: its first process takes all others and every mount with it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.unshare.wait(20)
        for controller in CONTROLLERS:
            branch = CGROUPS / controller / _branch(self.folder)
            eventually(lambda branch=branch: not _members(branch), timeout_s=30)  # type: ignore[misc]
            for group in sorted((p for p in (branch, *branch.rglob("*")) if p.is_dir()), reverse=True):
                group.rmdir()


PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _branch(folder: Path) -> str:
    return f"aivailable-{folder.parent.name}-{folder.name}"


def _systemd_of(pid: int) -> int:
    """The child that has become systemd; 0 while there is none."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
    return 0


def _members(branch: Path) -> list[str]:
    return [pid for file in branch.rglob("cgroup.procs") for pid in file.read_text().split()]


def _boot(folder: Path) -> Host:
    folder.mkdir(parents=True)
    script = BOOT.format(
        folder=folder,
        places=f"{ROOT} {sys.prefix}",
        masked=" ".join(NOT_HERE),
        controllers=" ".join(CONTROLLERS),
        path=f"PATH={PATH}",
        systemd=SYSTEMD,
    )
    start = START.format(
        controllers=" ".join(CONTROLLERS), cgroups=CGROUPS, branch=_branch(folder), script=shlex.quote(script)
    )
    said = folder.with_suffix(".log")
    with said.open("wb") as log:
        unshare = subprocess.Popen(["sh", "-c", start], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline = time.monotonic() + BOOT_S
    try:
        host = Host(folder, unshare, eventually(lambda: _systemd_of(unshare.pid), timeout_s=BOOT_S))
        while host.run("systemctl", "is-active", "--quiet", "basic.target").returncode != 0:
            assert time.monotonic() < deadline, f"the host does not boot: {said.read_text()}"
            time.sleep(0.1)
    except BaseException:
        unshare.kill()
        unshare.wait(20)
        raise
    host.install()
    return host


@contextlib.contextmanager
def one_host(folder: Path) -> Iterator[Host]:
    """A host without a network."""
    booted = _boot(folder)
    try:
        yield booted
    finally:
        booted.end()


@contextlib.contextmanager
def hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2, with a cable between them."""
    with one_host(folder / "one") as one, one_host(folder / "two") as two:
        ends = [f"name eth0 netns {host.pid}".split() for host in (one, two)]
        cable = ["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]]
        subprocess.run(cable, check=True, capture_output=True)
        for number, host in enumerate((one, two), 1):
            host.ok("ip", "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            host.ok("ip", "link", "set", "eth0", "up")
            host.ok("ip", "route", "add", "default", "via", f"10.77.0.{3 - number}")
        yield one, two
