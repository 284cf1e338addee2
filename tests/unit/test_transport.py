"""Copies go over the connection that Ansible has resolved, and a password is nowhere but in memory."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible_collections.ik_llama.pi.plugins.action import long_copy
from ansible_collections.ik_llama.pi.plugins.plugin_utils import remote_shell, transport
from naming import unnamed

SECRET = "correct horse"
MEMORY = Path("/dev/shm")


#: What `remote_shell` lets the other side print first.
BEGIN = f"{remote_shell.BEGIN}\n"

#: Elsewhere shared memory has no folder in which it could be looked for.
linux = pytest.mark.skipif(not MEMORY.is_dir(), reason="shared memory is not a folder here")


def ssh(**options: Any) -> Any:
    """Return Ansible's own SSH connection, with these options."""
    connection = connection_loader.get("ansible.builtin.ssh", PlayContext())
    connection.set_options(direct={"host": "10.0.0.7", "remote_user": "ada", "port": 2201, **options})
    return connection


def programs(folder: Path, **texts: str) -> str:
    """Create programs, and return a PATH on which they are found first."""
    for name, text in texts.items():
        (folder / name).write_text(f"#!{sys.executable}\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def run(way: transport.Transport, *command: str, path: str) -> subprocess.CompletedProcess[str]:
    """Call the remote shell as rsync does."""
    environment = {**way.remote_shell(), "PATH": path}
    argv = [*shlex.split(environment["RSYNC_RSH"]), "host", *command]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def test_the_command_is_that_of_ansible(tmp_path: Path) -> None:
    way = transport.transport(
        ssh(ssh_common_args='-o "ProxyCommand=ssh -W %h:%p jump"', ssh_extra_args="-oBatchMode=yes", timeout=7)
    )
    assert way.kind == "ssh"
    path = programs(tmp_path, ssh=f"import sys; print({BEGIN!r} + '\\n'.join(sys.argv[1:]))")
    words = run(way, "rsync", "--server", ".", "a b", path=path).stdout.splitlines()
    assert words[-7:-5] == ["-T", "10.0.0.7"]
    assert words[-4:] == ["rsync", "--server", ".", "a b"]
    assert {"ProxyCommand=ssh -W %h:%p jump", "-oBatchMode=yes", "Port=2201", 'User="ada"'} <= set(words)
    assert "ConnectTimeout=7" in words


#: A login whose shell greets, before it runs what ssh was given.
GREETS = """import subprocess, sys
print("Welcome to my Pi")
sys.stdout.flush()
sys.exit(subprocess.call(["sh", "-c", " ".join(sys.argv[sys.argv.index("10.0.0.7") + 1:])]))"""


def test_a_greeting_is_no_output_of_the_command(tmp_path: Path) -> None:
    path = programs(tmp_path, ssh=GREETS)
    done = run(transport.transport(ssh()), "printf", "'a\\nb'", ";", "exit", "3", path=path)
    assert (done.returncode, done.stdout) == (3, "a\nb")
    assert "Welcome" in done.stderr


def test_what_is_said_instead_of_a_command_is_not_lost(tmp_path: Path) -> None:
    path = programs(tmp_path, ssh="import sys; print('This account is not available.'); sys.exit(1)")
    done = run(transport.transport(ssh()), "rsync", path=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not available" in done.stderr


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
@pytest.mark.parametrize("direction", ["to_host", "from_host"])
def test_rsync_copies_to_and_from_a_login_that_greets(direction: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(os.urandom(3 << 20))
    way = transport.transport(ssh())
    args = {"direction": direction, "src": str(tmp_path / "source"), "dest": str(tmp_path / "copy")}
    environment = {**way.remote_shell(), "PATH": programs(tmp_path, ssh=GREETS)}
    subprocess.run(long_copy.command("ssh", args), env=environment, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


@linux
def test_a_password_reaches_ssh_by_ansible_s_askpass_and_is_gone_afterwards(tmp_path: Path) -> None:
    before = set(MEMORY.glob("*"))
    way = transport.transport(ssh(password=SECRET))
    (memory,) = set(MEMORY.glob("*")) - before
    assert SECRET not in f"{way.argv}{way.remote_shell()}"
    assert memory.stat().st_mode & 0o077 == 0
    path = programs(
        tmp_path,
        ssh="import os, subprocess\n"
        "done = subprocess.run([os.environ['SSH_ASKPASS'], 'password: '], capture_output=True, text=True)\n"
        f"print({BEGIN!r} + done.stdout)",
    )
    environment = {**way.remote_shell(), "SSH_ASKPASS": str(Path(sys.executable).with_name("ansible")), "PATH": path}
    argv = [*shlex.split(environment["RSYNC_RSH"]), "host", "true"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == SECRET
    assert set(MEMORY.glob("*")) <= before
    way.forget()


@linux
def test_a_password_reaches_sshpass_by_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(MEMORY.glob("*"))
    path = programs(
        tmp_path,
        sshpass="import os, sys\n"
        f"print({BEGIN!r}, sys.argv[1:], os.read(int(sys.argv[1][2:]), 99).decode().strip())\nsys.exit(5)",
    )
    monkeypatch.setenv("PATH", path)
    connection = ssh(password=SECRET, password_mechanism="sshpass")
    monkeypatch.setattr(type(connection), "_sshpass_available", staticmethod(lambda: True))
    way = transport.transport(connection)
    assert SECRET not in f"{way.argv}{way.remote_shell()}"
    done = run(way, "true", path=path)
    assert (done.returncode, SECRET in done.stdout, "ssh" in done.stdout) == (5, True, True)
    assert set(MEMORY.glob("*")) <= before


@linux
def test_a_password_that_was_not_used_is_forgotten() -> None:
    before = set(MEMORY.glob("*"))
    transport.transport(ssh(password=SECRET)).forget()
    assert set(MEMORY.glob("*")) <= before


def test_a_login_for_other_programs() -> None:
    assert transport.login(ssh()) == {"host": "10.0.0.7", "user": "ada", "port": "2201"}
    assert transport.login(SimpleNamespace(transport="ansible.builtin.local")) == {}


@pytest.mark.parametrize(
    ("kind", "way"),
    [("local", "local"), ("containers.podman.podman", "put_file"), ("community.docker.docker", "put_file")],
)
def test_other_connections(kind: str, way: str) -> None:
    connection = SimpleNamespace(transport=kind)
    assert transport.problem(connection) == ""
    assert transport.transport(connection).kind == way


@pytest.mark.parametrize("kind", ["winrm", "ansible.netcommon.network_cli", "ansible.netcommon.httpapi"])
def test_connections_that_cannot_copy_are_refused_by_name(kind: str) -> None:
    problem = transport.problem(SimpleNamespace(transport=kind))
    assert unnamed(problem, "ansible_connection", kind.rpartition(".")[2]) == []


def test_the_end_on_the_host_is_the_one_that_rsync_asks_for() -> None:
    args = {"src": "/a b", "dest": "/c", "direction": "to_host"}
    assert long_copy.command("ssh", args)[-2:] == ["/a b", "host:/c"]
    assert long_copy.command("ssh", {**args, "direction": "from_host"})[-2:] == ["host:/a b", "/c"]
    assert long_copy.command("local", args) == ["cp", "--reflink=auto", "--", "/a b", "/c"]


def test_a_test_says_what_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that takes too long, and a connection plugin that fails, are answers like any other."""
    action = long_copy.ActionModule.__new__(long_copy.ActionModule)

    def broken(*_: str) -> None:
        raise AnsibleConnectionFailure("no such container")

    action._connection = SimpleNamespace(transport="containers.podman.podman", put_file=broken)
    found = action._test(transport.Transport("put_file"), {"src": "x", "dest": "/y", "direction": "to_host"}, "pi-01")
    assert (found["failed"], found["code"]) == (True, "transport")
    assert unnamed(found["msg"], "pi-01", "no such container") == []
    assert remote_shell.COMMAND not in os.environ
