"""The hosts of an inventory for testinfra: variables as Ansible sees them, connections with checked host keys.

Used by `make verify` and by the Molecule scenarios.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko
import testinfra.host
from ansible import constants
from ansible.cli import CLI
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from paramiko import SSHException
from project_collection import PROJECT
from testinfra.backend.paramiko import ParamikoBackend

__all__ = ["PROJECT", "Fleet", "SSHException", "ask", "look", "process", "request"]

#: Roles whose variables are asked for: where the inventory is silent, their defaults hold.
ROLES = ("llama_server", "pi_base")


class CheckedParamiko(ParamikoBackend):
    """testinfra's paramiko backend, which takes any host key, made to take known ones only."""

    def __init__(
        self, options: dict[str, Any], known_hosts: Sequence[str], proxy: str, sudo: bool, sudo_password: str = ""
    ) -> None:
        super().__init__(f"{options['username']}@{options['hostname']}:{options['port']}", sudo=sudo)
        self.options = options
        self.known_hosts = known_hosts
        self.proxy = proxy
        self.sudo_password = sudo_password

    @functools.cached_property
    def client(self) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        for file in self.known_hosts:
            if Path(file).is_file():
                client.load_host_keys(file)
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        channel = {"sock": paramiko.ProxyCommand(self.proxy)} if self.proxy else {}
        client.connect(timeout=20, **self.options, **channel)
        return client

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        """Return what becomes root; it reads the password where there is one."""
        words = "sudo -S -p ''" if self.sudo_password else "sudo -n"
        return f"{words} -u {shlex.quote(sudo_user or 'root')} /bin/sh -c {shlex.quote(command)}"

    def _exec_command(self, command: bytes) -> tuple[int, bytes, bytes]:
        transport = self.client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.exec_command(command)
        if self.sudo and self.sudo_password:
            channel.sendall(f"{self.sudo_password}\n".encode())
        channel.shutdown_write()
        output, errors = b"".join(channel.makefile("rb")), b"".join(channel.makefile_stderr("rb"))
        return channel.recv_exit_status(), output, errors


def ssh_options(words: str) -> dict[str, str]:
    """Options of ssh's command line (`-o Name=value`, `-J host`), by their names in small letters."""
    found: dict[str, str] = {}
    parts = shlex.split(words)
    for position, part in enumerate(parts):
        following = parts[position + 1] if position + 1 < len(parts) else ""
        if part == "-J":
            found.setdefault("proxyjump", following)
        elif part == "-o" or (part.startswith("-o") and len(part) > 2):
            name, _, value = (following if part == "-o" else part[2:]).replace("=", " ", 1).partition(" ")
            found.setdefault(name.lower(), value.strip())
    return found


@functools.cache
def ansible_loader() -> DataLoader:
    """Reads Ansible's files, those in a vault too where ANSIBLE_VAULT_PASSWORD_FILE opens it. Ansible allows one."""
    loader = DataLoader()
    identities = list(constants.DEFAULT_VAULT_IDENTITY_LIST)
    loader.set_vault_secrets(CLI.setup_vault_secrets(loader, identities, auto_prompt=False))
    return loader


class Fleet:
    """The hosts of one inventory, those of `limit` where it is given."""

    def __init__(self, inventory: str | Path, limit: str = "") -> None:
        self.loader = ansible_loader()
        self.inventory = InventoryManager(loader=self.loader, sources=[str(inventory)])
        self.inventory.subset(limit or None)
        self.manager = VariableManager(loader=self.loader, inventory=self.inventory)
        self.defaults: dict[str, Any] = {}
        for role in ROLES:
            for kind in ("defaults", "vars"):
                path = str(PROJECT / "roles" / role / kind / "main.yml")
                self.defaults.update(self.loader.load_from_file(path, trusted_as_template=True))

    def names(self, group: str = "pis") -> list[str]:
        """The hosts of a group."""
        return [host.name for host in self.inventory.list_hosts(group)]

    def variable(self, host: str, name: str, default: Any = None) -> Any:
        """One variable of one host, its templates resolved; that of a role where the inventory does not set it."""
        variables = {**self.defaults, **self.manager.get_vars(host=self.inventory.get_host(host))}
        if name not in variables:
            return default
        return Templar(loader=self.loader, variables=variables).template(variables[name])

    def host(self, name: str) -> Any:
        """A host over SSH as Ansible reaches it, as root where it becomes that; its host key must be known."""
        address = str(self.variable(name, "ansible_host", name))
        arguments = [self.variable(name, f"ansible_ssh_{kind}_args", "") for kind in ("common", "extra")]
        given = ssh_options(" ".join(arguments))
        own = Path("~/.ssh/config").expanduser()
        config = paramiko.SSHConfig.from_path(str(own)).lookup(address) if own.is_file() else {}
        settings = {**{key: value for key, value in config.items() if isinstance(value, str)}, **given}
        key = self.variable(name, "ansible_ssh_private_key_file") or self.variable(name, "ansible_private_key_file")
        keys = [key] if key else list(config.get("identityfile", []))
        options = {
            "hostname": settings.get("hostname", address),
            "port": int(self.variable(name, "ansible_port") or settings.get("port", 22)),
            "username": self.variable(name, "ansible_user") or settings.get("user") or os.environ.get("USER", "root"),
            "password": self.variable(name, "ansible_password") or self.variable(name, "ansible_ssh_pass"),
            "key_filename": [os.path.expanduser(file) for file in keys] or None,
        }
        known = settings.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
        known += settings.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
        jump = settings.get("proxyjump", "")
        target = f"{options['hostname']}:{options['port']}"
        proxy = f"ssh -W {target} {shlex.quote(jump)}" if jump else settings.get("proxycommand", "")
        proxy = proxy.replace("%h", options["hostname"]).replace("%p", str(options["port"]))
        sudo = bool(self.variable(name, "ansible_become", False))
        known_hosts = [os.path.expanduser(file) for file in known if file != "none"]
        proxy = "" if proxy == "none" else proxy
        password = self.become_password(name) if sudo else ""
        return testinfra.host.Host(CheckedParamiko(options, known_hosts, proxy, sudo, password))

    def become_password(self, name: str) -> str:
        """The password for sudo: from a variable, or from the file of Ansible's setting BECOME_PASSWORD_FILE."""
        for variable in ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"):
            if (given := self.variable(name, variable)) is not None:
                return str(given)
        file = constants.BECOME_PASSWORD_FILE
        return CLI.get_password_from_file(file).decode() if file else ""


# Runs on the board and prints what it sees: one command, because on an emulated board each takes a second.
LOOK = """
import glob, grp, hashlib, json, os, pwd, subprocess, sys
root, unit, key_file = sys.argv[1:]
def text(path):
    try:
        return open(path, errors="replace").read()
    except OSError:
        return ""
def run(*words):
    path = os.environ["PATH"] + ":/opt/vc/bin"
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PATH": path})
        return [done.returncode, done.stdout.decode(errors="replace").strip()]
    except OSError as error:
        return [127, str(error)]
def owner(path):
    seen = os.stat(path)
    return [pwd.getpwuid(seen.st_uid).pw_name, grp.getgrgid(seen.st_gid).gr_name, oct(seen.st_mode & 0o7777)[2:]]
shown = run("systemctl", "show", "-p", "ActiveState,UnitFileState,MainPID", os.path.basename(unit))[1]
state = dict(line.split("=", 1) for line in shown.splitlines())
process = "/proc/" + state.get("MainPID", "0")
current = os.path.realpath(root + "/current")
model, engine = os.path.realpath(current + "/model"), os.path.realpath(current + "/engine")
files = [path for path in glob.glob(current + "/*") if os.path.isfile(path) and not os.path.islink(path)]
paths = [root + "/deployments", current, current + "/run", current + "/deployment.json", engine + "/bin", model, unit]
print(json.dumps({
    "state": state,
    "cwd": os.readlink(process + "/cwd") if os.path.isdir(process) else "",
    "status": text(process + "/status"),
    "limits": text(process + "/limits"),
    "current": current,
    "unit": text(unit),
    "own_unit": text(current + "/" + os.path.basename(unit)),
    "deployment": text(current + "/deployment.json"),
    "digests": {os.path.basename(path): hashlib.sha256(open(path, "rb").read()).hexdigest() for path in files},
    "model": {"path": model, "size": os.stat(model).st_size if os.path.isfile(model) else -1,
              "manifest": text(os.path.splitext(model)[0] + ".json")},
    "engine": {"path": engine, "version": run(engine + "/bin/llama-server", "--version")},
    "owners": {path: owner(path) for path in paths if os.path.exists(path)},
    "key_file": owner(key_file) if os.path.exists(key_file) else [],
    "users": text("/etc/passwd"),
    "listening": run("ss", "-Htlnp")[1],
    "governors": [text(path).strip() for path in glob.glob("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor")],
    "container": os.path.exists("/run/systemd/container"),
    "throttled": run("vcgencmd", "get_throttled")[1],
}))
"""


def look(board: Any, root: str, unit: str, key_file: str) -> dict[str, Any]:
    """Return the state of a board that serves, by one command; the API key itself is not read."""
    seen: dict[str, Any] = json.loads(board.check_output("python3 -c %s %s %s %s", LOOK, root, unit, key_file))
    return seen


# Runs on the board: asks a URL and prints status and body. The key goes from its file to the server and nowhere else.
ASK = """
import sys, urllib.error, urllib.request
url, body, key_file, timeout = sys.argv[1:]
head = {"Content-Type": "application/json"}
if key_file:
    head["Authorization"] = "Bearer " + open(key_file).readline().strip()
try:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    reply = opener.open(urllib.request.Request(url, body.encode() or None, head), timeout=float(timeout))
    print(reply.status, reply.read().decode(), sep="\\n")
except urllib.error.HTTPError as error:
    print(error.code)
"""


def request(board: Any, url: str, body: Any = None, key_file: str = "", timeout: int = 60) -> tuple[int, str]:
    """Return status and body of the answer of a board's own server; 0 and the error where there is none."""
    text = json.dumps(body) if body is not None else ""
    asked = board.run("python3 -c %s %s %s %s %s", ASK, url, text, key_file, str(timeout))
    status, _, answer = asked.stdout.partition("\n")
    return (int(status), answer.strip()) if asked.rc == 0 else (0, asked.stderr.strip().rpartition("\n")[2])


def ask(board: Any, port: int, question: str = "What comes after g?", key_file: str = "") -> str:
    """Return the answer of a board's own server to one question; wait for the model to be loaded."""
    answers = importlib.import_module("ansible_collections.ik_llama.pi.plugins.module_utils.server.answer")
    url = f"http://127.0.0.1:{port}{answers.CHAT}"
    status, answer = 0, ""
    for _ in range(20):
        status, answer = request(board, url, answers.question(question, 12), key_file)
        if status == 200:
            return str(answers.read_reply(json.loads(answer)).content).strip()
        time.sleep(1)
    log = board.run("journalctl -u llama-server -n 40").stdout
    raise AssertionError(f"no answer on port {port}: {status} {answer}\n{log}")


def process(board: Any) -> dict[str, Any]:
    """What /proc says of the server: `pid`, `words` (after the program), `text` (status and limits), `cwd`."""
    pid = board.check_output("systemctl show -P MainPID llama-server")
    assert pid != "0", board.run("journalctl -u llama-server -n 40").stdout
    text = board.check_output("cat /proc/%s/status /proc/%s/limits; readlink /proc/%s/cwd", pid, pid, pid)
    words = board.check_output("tr '\\0' '\\n' < /proc/%s/cmdline", pid).splitlines()
    return {"pid": pid, "words": words[words.index("--model") :], "text": text, "cwd": text.splitlines()[-1]}
