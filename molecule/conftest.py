"""The hosts of the inventory for testinfra, with the variables as Ansible sees them (testinfra reads no templates)."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import testinfra
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar
from ansible.vars.manager import VariableManager

PROJECT = Path(__file__).resolve().parents[1]
INVENTORY = PROJECT / "inventory/lab"


class Fleet:
    """The hosts of one inventory."""

    def __init__(self, inventory: Path) -> None:
        init_plugin_loader()
        self.loader = DataLoader()
        self.inventory = InventoryManager(loader=self.loader, sources=[str(inventory)])
        self.manager = VariableManager(loader=self.loader, inventory=self.inventory)

    def variable(self, host: str, name: str) -> Any:
        """One variable of one host, its templates resolved."""
        variables = self.manager.get_vars(host=self.inventory.get_host(host))
        return Templar(loader=self.loader, variables=variables).template(variables[name])

    def host(self, name: str) -> Any:
        """A board over SSH as root, its host key checked."""
        return testinfra.get_host(
            f"ssh://{self.variable(name, 'ansible_user')}@{self.variable(name, 'ansible_host')}"
            f":{self.variable(name, 'ansible_port')}",
            ssh_identity_file=self.variable(name, "ansible_ssh_private_key_file"),
            ssh_extra_args=self.variable(name, "ansible_ssh_common_args"),
            sudo=True,
        )

    def restart(self, name: str) -> None:
        """Stop and start a board's container: for systemd inside it a reboot."""
        podman = Path(self.variable("localhost", "lab_host_cache")) / "podman"
        subprocess.run(
            ["podman", "restart", "--time=10", f"{self.variable('localhost', 'lab_host_instance')}-{name}"],
            env={
                **os.environ,
                "CONTAINERS_CONF": str(podman / "containers.conf"),
                "CONTAINERS_STORAGE_CONF": str(podman / "storage.conf"),
            },
            check=True,
            capture_output=True,
        )
        for _ in range(60):
            try:
                self.host(name).check_output("true")
                return
            except RuntimeError:  # the connection from before is gone, or sshd is not there yet
                time.sleep(1)
        raise AssertionError(f"{name} did not come back")


def playbook(
    *arguments: str, inventory: Path = INVENTORY, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook, on the lab where no other inventory is given."""
    return subprocess.run(
        ["ansible-playbook", "-i", str(inventory), *arguments],
        cwd=PROJECT,
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "false", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet(INVENTORY)


@pytest.fixture(scope="session")
def run_playbook() -> Any:
    return playbook


@pytest.fixture(scope="session")
def board(fleet: Fleet) -> Any:
    return fleet.host("pi-01")


def ask(board: Any, port: int, question: str = "What comes after g?") -> str:
    """The answer of a board's own server to one question; waits for the model to be loaded."""
    body = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0})
    url = f"http://127.0.0.1:{port}"
    script = (
        "import json, sys, urllib.request as r\n"
        f"r.urlopen('{url}/health', timeout=5)\n"
        "q = r.Request(sys.argv[1], sys.argv[2].encode(), {'Content-Type': 'application/json'})\n"
        "print(json.load(r.urlopen(q, timeout=60))['choices'][0]['message']['content'])"
    )
    reply = board.run("true")
    for _ in range(20):
        reply = board.run("python3 -c %s %s %s", script, f"{url}/v1/chat/completions", body)
        if reply.rc == 0:
            return str(reply.stdout.strip())
        time.sleep(1)
    raise AssertionError(
        f"no answer on port {port}: {reply.stderr}\n{board.run('journalctl -u llama-server -n 40').stdout}"
    )


@pytest.fixture(scope="session")
def asked() -> Any:
    return ask


@pytest.fixture(scope="session")
def process() -> Any:
    """What /proc says of the server: cmdline (words after the program), status, limits."""

    def look(board: Any) -> dict[str, Any]:
        pid = board.check_output("systemctl show -P MainPID llama-server")
        assert pid != "0", board.run("journalctl -u llama-server -n 40").stdout
        text = board.check_output("cat /proc/%s/status /proc/%s/limits; readlink /proc/%s/cwd", pid, pid, pid)
        words = board.check_output("tr '\\0' '\\n' < /proc/%s/cmdline", pid).splitlines()
        return {"words": words[words.index("--model") :], "text": text, "cwd": text.splitlines()[-1]}

    return look
