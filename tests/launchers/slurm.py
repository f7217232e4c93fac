"""A Slurm cluster of one node, this one, with Debian's packages: no accounting, no cgroups, files in one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel", "scontrol", "squeue")
START_S = 60.0
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=dev Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
#: slurmd 22.05 insists on a cgroup plug-in; with linuxproc it isn't used.
CGROUP = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"


def missing() -> list[str]:
    """Programs that aren't installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start it; yields the environment variables by which clients find it. All daemons are gone afterwards."""
    prepare(folder)
    env = {"SLURM_CONF": str(folder / "slurm.conf")}
    munged = ("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key")
    files = (f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed"))
    commands = ((*munged, *files), ("slurmctld", "-D"), ("slurmd", "-D"))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            daemons.append(start(command, folder, env))
            if command[0] == "munged":
                wait_until(lambda: (folder / "munge.socket").exists(), folder)
        wait_until(lambda: "idle" in said("sinfo", "--noheader", "--format=%T", env=env), folder)
        yield env
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def prepare(folder: Path) -> None:
    """Configuration, and a secret that the daemons share."""
    host = socket.gethostname().split(".")[0]
    ports = {"port": free_port(), "node_port": free_port()}
    text = CONFIG.format(folder=folder, host=host, cpus=os.cpu_count(), **ports)
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text(CGROUP)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    folder.chmod(0o755)  # munge refuses a socket that others could have put there
    for name in ("state", "spool"):
        (folder / name).mkdir()


def start(command: tuple[str, ...], folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A daemon; what it prints goes to a file."""
    with (folder / f"{command[0]}.out").open("wb") as out:
        return subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def said(*command: str, env: dict[str, str]) -> str:
    """What a client prints."""
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True).stdout


def wait_until(happened: object, folder: Path) -> None:
    """Return once it has; fails with the daemons' last words."""
    deadline = time.monotonic() + START_S
    while not happened():  # type: ignore[operator]
        logs = {path.name: path.read_text(errors="replace")[-2000:] for path in folder.glob("*.out")}
        assert time.monotonic() < deadline, logs
        time.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
