"""How programs that are not Ansible reach a host."""

from __future__ import annotations

import shlex
from typing import Any

import pytest


@pytest.fixture
def ssh(plugin: Any) -> Any:
    return plugin("filter", "ssh")


LOGIN = {"host": "fd00::1", "user": "pi", "port": "2201"}


def test_a_command_on_a_host(ssh: Any) -> None:
    words = ssh.ssh_command(LOGIN, "true")
    assert words[0] == "ssh"
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes"} <= set(words)
    assert words[words.index("-p") + 1] == "2201"
    assert words[-2:] == ["pi@fd00::1", "true"]


def test_rsync_logs_in_as_the_command_does(ssh: Any) -> None:
    assert [*shlex.split(ssh.rsync_shell(LOGIN)), "pi@fd00::1"] == ssh.ssh_command(LOGIN)
    words = ssh.rsync_command(LOGIN, "a b", "/c")
    assert f"--rsh={ssh.rsync_shell(LOGIN)}" in words
    assert words[-2:] == ["a b", "pi@[fd00::1]:/c"]


def test_defaults_are_those_of_ssh(ssh: Any) -> None:
    login = {"host": "pi-01", "user": "", "port": ""}
    assert "-p" not in ssh.ssh_command(login)
    assert ssh.rsync_address(login) == "pi-01"


@pytest.mark.parametrize(
    ("served", "host", "url"),
    [
        (
            {"url": "http://127.0.0.1:8080", "address": "127.0.0.1"},
            {"ansible_host": "10.0.0.1"},
            "http://127.0.0.1:8080",
        ),
        ({"url": "http://127.0.0.1:81", "address": "0.0.0.0"}, {"ansible_host": "10.0.0.1"}, "http://10.0.0.1:81"),
        ({"url": "http://[::1]:81", "address": "::"}, {"ansible_host": "fd00::1"}, "http://[fd00::1]:81"),
        ({"url": "http://127.0.0.1:81", "address": "0.0.0.0"}, {}, "http://pi-01:81"),
        ({"url": "http://10.0.0.9:81", "address": "10.0.0.9"}, {"ansible_host": "10.0.0.1"}, "http://10.0.0.9:81"),
    ],
)
def test_where_a_board_is_asked_from_here(ssh: Any, served: dict[str, str], host: dict[str, Any], url: str) -> None:
    board = {"inventory_hostname": "pi-01", "ansible_user": "pi", "ansible_port": 2201, **host}
    said = ssh.serving({**served, "alias": "m", "api_key_file": "/etc/keys"}, board)
    assert (said["url"], said["model"], said["api_key"]) == (url, "m", True)
    assert said["ssh"].split() == ["ssh", "-p", "2201", f"pi@{host.get('ansible_host', 'pi-01')}"]


@pytest.mark.parametrize(
    ("asked", "unreached"),
    [
        ({}, ""),
        ({"report_asked": {"changed": False, "skipped": True}}, ""),
        ({"report_asked": {"status": 200, "msg": "OK (15 bytes)"}}, ""),
        ({"report_asked": {"status": -1, "msg": "timed\nout"}}, "timed out"),
    ],
)
def test_a_board_that_the_controller_does_not_reach(ssh: Any, asked: dict[str, Any], unreached: str) -> None:
    served = {"url": "http://10.0.0.1:81", "address": "10.0.0.1", "alias": "m", "api_key_file": ""}
    assert ssh.serving(served, {"inventory_hostname": "pi-01", **asked})["unreached"] == unreached


def test_a_board_that_a_rollout_left_out_is_not_in_the_table(ssh: Any) -> None:
    served = {"url": "http://127.0.0.1:8080", "address": "127.0.0.1", "alias": "m", "api_key_file": ""}
    hosts = [
        {"inventory_hostname": "same", "llama_server_plan": {**served, "change": False}},
        {"inventory_hostname": "changed", "llama_server_plan": {**served, "change": True}, "serve_outcome": "serves"},
        {"inventory_hostname": "left-out", "llama_server_plan": {**served, "change": True}},
    ]
    assert list(ssh.serving_boards(hosts)) == ["same", "changed"]


def test_no_login_to_this_machine(ssh: Any) -> None:
    assert ssh.ssh_login({"inventory_hostname": "a", "ansible_connection": "local"}) == ""
