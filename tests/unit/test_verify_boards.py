"""How `make verify` reaches a board: by the inventory's words, and only if its host key is known."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from boards import Fleet, SSHException, ssh_options
from naming import unnamed


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("-o StrictHostKeyChecking=yes -oPort=2222", {"stricthostkeychecking": "yes", "port": "2222"}),
        ("-o 'UserKnownHostsFile=/a /b' -J jump", {"userknownhostsfile": "/a /b", "proxyjump": "jump"}),
        ("-o 'ProxyCommand ssh -W %h:%p gate'", {"proxycommand": "ssh -W %h:%p gate"}),
        ("-o Port=1 -o Port=2", {"port": "1"}),
        ("", {}),
    ],
)
def test_options_of_ssh(words: str, options: dict[str, str]) -> None:
    assert ssh_options(words) == options


class Anyone(paramiko.ServerInterface):
    """Lets anyone in who has a key, and answers each command with its own words."""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        def answer() -> None:
            channel.sendall(b"asked: " + command)
            channel.send_exit_status(0)
            channel.close()

        threading.Timer(0.05, answer).start()
        return True


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, paramiko.PKey]]:
    """An SSH server on 127.0.0.1: its port and host key."""
    key = paramiko.RSAKey.generate(2048)
    listening = socket.create_server(("127.0.0.1", 0))
    transports = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transports.append(transport)
            transport.start_server(event=threading.Event(), server=Anyone())

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1], key
    listening.close()
    for transport in transports:
        transport.close()


def fleet(folder: Path, port: int, known: str) -> Fleet:
    """A fleet of one board, behind that port."""
    (folder / "known_hosts").write_text(known)
    paramiko.RSAKey.generate(2048).write_private_key_file(str(folder / "id"))
    (folder / "hosts.yml").write_text(
        "pis:\n  hosts:\n    pi-01:\n      ansible_host: 127.0.0.1\n"
        f"      ansible_port: {port}\n      ansible_user: pi\n      ansible_ssh_private_key_file: {folder}/id\n"
        f"      ansible_ssh_common_args: -o UserKnownHostsFile={folder}/known_hosts -o GlobalKnownHostsFile=/dev/null\n"
    )
    return Fleet(folder / "hosts.yml")


def test_a_board_whose_host_key_is_known(server: tuple[int, paramiko.PKey], tmp_path: Path) -> None:
    port, key = server
    board = fleet(tmp_path, port, f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n").host("pi-01")
    assert board.run("uptime").stdout == "asked: uptime"


@pytest.mark.parametrize("other", [True, False])
def test_a_board_whose_host_key_is_another_or_unknown(
    server: tuple[int, paramiko.PKey], tmp_path: Path, other: bool
) -> None:
    port, _ = server
    key = paramiko.RSAKey.generate(2048)
    known = f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n" if other else ""
    with pytest.raises(SSHException) as caught:
        fleet(tmp_path, port, known).host("pi-01").run("uptime")
    assert isinstance(caught.value, paramiko.BadHostKeyException) == other
    assert unnamed(caught.value, "127.0.0.1") == []


def test_variables_are_those_of_the_inventory_and_else_of_the_roles(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("pis: {hosts: {pi-01: {llama_server_port: 8090}, pi-02: {}}}\n")
    boards = Fleet(tmp_path / "hosts.yml")
    assert boards.names() == ["pi-01", "pi-02"]
    assert boards.variable("pi-01", "llama_server__url") == "http://127.0.0.1:8090"
    assert boards.variable("pi-02", "llama_server__options")["threads"] == 3
    assert Fleet(tmp_path / "hosts.yml", "pi-02").names() == ["pi-02"]


@pytest.mark.parametrize(
    ("host", "allowed", "networks"),
    [
        ("127.0.0.1", ["10.0.0.0/8"], ["localhost"]),
        ("0.0.0.0", [], []),
        ("0.0.0.0", ["10.0.0.0/8"], ["localhost", "10.0.0.0/8"]),
        ("192.168.1.4", [], []),
        ("192.168.1.4", "192.168.1.9", ["localhost", "192.168.1.4", "192.168.1.9"]),
    ],
)
def test_the_board_itself_is_among_those_that_reach_its_server(
    tmp_path: Path, host: str, allowed: str | list[str], networks: list[str]
) -> None:
    variables = {"llama_server_host": host, "llama_server_allow_from": allowed}
    (tmp_path / "hosts.yml").write_text(json.dumps({"pis": {"hosts": {"pi-01": variables}}}))
    assert Fleet(tmp_path / "hosts.yml").variable("pi-01", "llama_server__networks") == networks
