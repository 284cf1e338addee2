"""How programs that are not Ansible reach a host."""

from __future__ import annotations

import shlex
from typing import Any

import pytest


@pytest.fixture
def ssh(plugin: Any) -> Any:
    return plugin("filter", "ssh")


def test_a_command_on_a_host(ssh: Any) -> None:
    host = {"inventory_hostname": "pi-01", "ansible_host": "fd00::1", "ansible_user": "pi", "ansible_port": 2201}
    words = ssh.ssh_command(host, "true")
    assert words[0] == "ssh"
    assert "StrictHostKeyChecking=yes" in words
    assert words[words.index("-p") + 1] == "2201"
    assert words[-2:] == ["pi@fd00::1", "true"]


def test_shell_from_the_inventory(ssh: Any) -> None:
    host = {
        "ansible_port": 2201,
        "ansible_ssh_private_key_file": "/keys/a b",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/lab/known_hosts",
    }
    assert shlex.split(ssh.rsync_shell(host)) == [
        *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-p", "2201", "-i", "/keys/a b"),
        *("-o", "UserKnownHostsFile=/lab/known_hosts"),
    ]


def test_plain_host(ssh: Any) -> None:
    assert ssh.rsync_shell({}) == "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
    assert ssh.rsync_address({"inventory_hostname": "pi-01"}) == "pi-01"


def test_address(ssh: Any) -> None:
    host = {"inventory_hostname": "pi-01", "ansible_host": "fd00::1", "ansible_user": "pi"}
    assert ssh.rsync_address(host) == "pi@[fd00::1]"
