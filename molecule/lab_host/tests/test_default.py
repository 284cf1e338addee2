"""The boards answer by SSH with checked keys, look like a Pi to the roles, and cannot change this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ik-llama-pi"
LAB = CACHE / "lab" / os.environ["LAB"]
PODMAN = {
    **os.environ,
    "CONTAINERS_CONF": str(CACHE / "podman/containers.conf"),
    "CONTAINERS_STORAGE_CONF": str(CACHE / "podman/storage.conf"),
}
#: For sudo alone. No program gets it on its command line.
PASSWORD = "of the lab"
SUDO = "sudo -S -p ''"
PORTS = {f"pi-0{board}": int(os.environ["LAB_PORT"]) + board for board in (1, 2)}


def ssh(board: str, *command: str, known_hosts: Path = LAB / "known_hosts") -> subprocess.CompletedProcess[str]:
    options = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known_hosts}"]
    where = [f"-i{LAB}/key/id_ed25519", f"-p{PORTS[board]}", "ada@127.0.0.1"]
    return subprocess.run(
        ["ssh", "-F/dev/null", *(f"-o{option}" for option in options), *where, *command],
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=sorted(PORTS))
def board(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_board_is_a_running_arm64_system_of_its_own_name(board: str) -> None:
    answer = ssh(board, "uname -m; hostname; systemctl is-system-running; . /etc/os-release; echo $VERSION_CODENAME")
    assert answer.stdout.split() == ["aarch64", board, "running", "trixie"]


def test_another_host_key_is_refused(board: str, tmp_path: Path) -> None:
    other = LAB / "boards" / next(name for name in PORTS if name != board) / "ssh_host_ed25519_key.pub"
    kind, key = other.read_text().split()[:2]
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{PORTS[board]} {kind} {key}\n")
    answer = ssh(board, "true", known_hosts=tmp_path / "known_hosts")
    assert answer.returncode == 255
    assert f"{tmp_path}/known_hosts" in answer.stderr
    assert ssh(board, "true").returncode == 0


def test_nobody_gets_in_with_a_password(board: str) -> None:
    answer = ssh(board, f"{SUDO} sh -c 'sshd -T; passwd --status ada; passwd --status root'")
    assert "passwordauthentication no" in answer.stdout
    assert [line.split()[1] for line in answer.stdout.splitlines()[-2:]] == ["P", "L"]


def test_the_account_is_root_by_its_password_alone(board: str) -> None:
    assert ssh(board, f"{SUDO} id -u").stdout.strip() == "0"
    assert ssh(board, "sudo -n id -u").returncode == 1


def test_a_hardened_unit_starts(board: str) -> None:
    unit = f"{SUDO} systemd-run --quiet --wait -p ProtectSystem=strict -p PrivateTmp=yes -p NoNewPrivileges=yes true"
    assert ssh(board, unit).returncode == 0


def test_board_cannot_change_the_kernel_of_this_machine(board: str) -> None:
    answer = ssh(board, f"{SUDO} sh -c 'echo 1 > /proc/sys/vm/swappiness'; findmnt --noheadings --output OPTIONS /sys")
    assert "Read-only" in answer.stderr
    assert answer.stdout.split(",")[0] == "ro"


def test_board_sees_the_processor_of_a_pi_5(board: str) -> None:
    features = ssh(board, "grep -m1 Features /proc/cpuinfo").stdout.split()
    assert "asimddp" in features
    assert "sve" not in features


def test_ports_are_published_on_loopback_alone() -> None:
    listed = subprocess.run(["podman", "ps", "--format=json"], env=PODMAN, capture_output=True, text=True, check=True)
    ports = [port for container in json.loads(listed.stdout) for port in container["Ports"]]
    assert len(ports) >= len(PORTS)
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_podman_of_the_user_does_not_show_it() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CONTAINERS_")}
    for question in (["ps", "--all"], ["images"], ["network", "ls"]):
        seen = subprocess.run(["podman", *question], env=plain, capture_output=True, text=True, check=True)
        assert f"{LAB.name}-pi-" not in seen.stdout
        assert "ik-llama-pi" not in seen.stdout


def test_a_folder_of_engine_source_is_a_repository_of_one_commit() -> None:
    repository = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "engine-source"

    def git(*words: str) -> list[str]:
        run = subprocess.run(["git", "-C", repository, *words], capture_output=True, text=True, check=True)
        return run.stdout.splitlines()

    assert git("log", "--format=%cI", "main") == ["2026-04-15T00:00:00+00:00"]
    source = PROJECT / "molecule/shared/stand_in_engine"
    assert git("ls-tree", "-r", "--name-only", "main") == sorted(path.name for path in source.iterdir())
