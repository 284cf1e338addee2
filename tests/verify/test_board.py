"""Assertions on a board that serves. `make verify` prints the first line of each docstring."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import throttled
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import is_loopback
from ansible_collections.ik_llama.pi.plugins.module_utils.server import answer, arguments
from ansible_collections.ik_llama.pi.plugins.module_utils.server.deployment import present_names
from boards import look, request

ROOT = "/var/lib/llama"
UNIT = "/etc/systemd/system/llama-server.service"
CONFINED = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "MemoryDenyWriteExecute=yes",
    "LimitMEMLOCK=infinity",
    "Restart=on-failure",
)
# How `ss` writes the addresses that a server listens on.
ADDRESSES = {"0.0.0.0": {"0.0.0.0", "*"}, "::": {"[::]", "*"}, "localhost": {"127.0.0.1", "[::1]"}}


@pytest.fixture(scope="session")
def seen(board: Any) -> Any:
    """The state of the board."""
    return look(board, ROOT, UNIT, arguments.API_KEY_FILE)


@pytest.fixture(scope="session")
def deployment(seen: Any) -> Any:
    """The manifest of the deployment that the pointer names."""
    assert seen["deployment"], "nothing is in service"
    return present_names(json.loads(seen["deployment"]))


@pytest.fixture(scope="session")
def options(variable: Any) -> dict[str, Any]:
    """The server's options by the inventory."""
    return arguments.server_options(variable)


@pytest.fixture(scope="session")
def url(options: dict[str, Any]) -> str:
    """Where the server listens by the inventory, asked from its board."""
    return arguments.served_at(arguments.server_arguments(options))["url"]


@pytest.fixture(scope="session")
def key_file(seen: Any) -> str:
    """Where the API keys are on the board, empty if it has none."""
    return arguments.API_KEY_FILE if seen["key_file"] else ""


def test_service(seen: Any) -> None:
    """the service runs, and starts with the board."""
    shown = [seen["state"].get(name, "") for name in ("ActiveState", "UnitFileState")]
    assert shown == ["active", "enabled"], f"it is {' and '.join(shown)}"


def test_health(board: Any, url: str) -> None:
    """the server is healthy."""
    status, text = request(board, f"{url}/health")
    assert status == 200, f"{status} {text}"


def test_answer(board: Any, variable: Any, url: str, key_file: str) -> None:
    """it answers llama_server_probe_question as a new deployment must (llama_server_probe_expect)."""
    question = answer.question(
        variable("llama_server_probe_question"), int(variable("llama_server_probe_tokens")), think=False
    )
    status, text = request(board, f"{url}{answer.CHAT}", question, key_file, timeout=300)
    assert status == 200, f"{status} {text}"
    reply = answer.read_reply(json.loads(text))
    problem = answer.reply_problem(reply, variable("llama_server_probe_expect"))
    assert not problem, f"the answer {reply.answer!r} {problem}"


def test_key(board: Any, options: dict[str, Any], url: str, key_file: str) -> None:
    """who has no API key gets no answer, and without any API key nobody else can ask."""
    if not key_file:
        assert is_loopback(options["host"]), "other machines can reach it, and it has no API key"
        return
    status, _ = request(board, f"{url}{answer.CHAT}", answer.question("Hello.", 1))
    assert status == 401, f"without an API key the status is {status}"


def test_listens(seen: Any, variable: Any) -> None:
    """it listens on llama_server_host and llama_server_port, and nowhere else."""
    lines = [line for line in seen["listening"].splitlines() if f"pid={seen['state']['MainPID']}," in line]
    addresses = {line.split()[3] for line in lines}
    host, port = str(variable("llama_server_host")), variable("llama_server_port")
    allowed = {f"{address}:{port}" for address in ADDRESSES.get(host, {f"[{host}]" if ":" in host else host})}
    assert addresses, "it listens nowhere"
    assert addresses <= allowed, f"it listens on {', '.join(sorted(addresses - allowed))}"


def test_pointer(seen: Any) -> None:
    """what runs is the deployment that the pointer names."""
    assert seen["cwd"] == seen["current"], f"it works in {seen['cwd'] or 'nothing'}, not in {seen['current']}"


def test_options(options: dict[str, Any], deployment: dict[str, Any]) -> None:
    """it was started with the options of the inventory."""
    wanted = [" ".join(flag) for flag in arguments.server_arguments(options)]
    served = [" ".join(flag) for flag in deployment["arguments"]]
    differ = [f"not {flag}" for flag in wanted if flag not in served] + [flag for flag in served if flag not in wanted]
    assert not differ, f"it has {', '.join(differ)}"


def test_files(seen: Any, deployment: dict[str, Any]) -> None:
    """nobody has changed the files that it was started by."""
    changed = [name for name, digest in deployment["files"].items() if seen["digests"].get(name) != digest]
    assert not changed, f"{', '.join(changed)} in {seen['current']} is not as it was built; site.yml writes it again"


def test_unit(seen: Any) -> None:
    """its unit is the deployment's own, and confined."""
    assert seen["unit"] == seen["own_unit"], "the unit was changed"
    lacks = [line for line in CONFINED if f"\n{line}\n" not in seen["unit"]]
    assert not lacks, f"it lacks {', '.join(lacks)}"


def test_model(seen: Any, deployment: dict[str, Any]) -> None:
    """its model is the one that was checked, and complete."""
    model = seen["model"]
    assert model["manifest"], f"{model['path']} has no manifest"
    manifest = json.loads(model["manifest"])
    assert manifest["sha256"] == deployment["model"], "its manifest is another model's"
    assert model["size"] == manifest["size"], f"it has {model['size']} bytes, not {manifest['size']}"


def test_engine(seen: Any, deployment: dict[str, Any]) -> None:
    """its engine is the deployment's, and starts."""
    engine = seen["engine"]
    assert engine["path"].endswith(f"/releases/{deployment['release']}"), f"it is {engine['path']}"
    assert engine["version"][0] == 0, engine["version"][1]


def test_owners(seen: Any, variable: Any) -> None:
    """only root can change what serves, and only the service reads the keys."""
    assert len(seen["owners"]) == 7, f"there are only {', '.join(seen['owners'])}"
    for path, (user, group, mode) in seen["owners"].items():
        assert (user, group) == ("root", "root"), f"{path} belongs to {user}:{group}"
        assert not int(mode, 8) & 0o022, f"{path} has mode {mode}"
    group = variable("llama_server_user")
    assert seen["key_file"] in ([], ["root", group, "640"]), f"the keys are {' '.join(seen['key_file'])}"


def test_user(seen: Any, variable: Any) -> None:
    """it runs as its own user, as which nobody logs in."""
    name = variable("llama_server_user")
    user: list[str] = next((line.split(":") for line in seen["users"].splitlines() if line.startswith(f"{name}:")), [])
    assert user, f"there is no user {name}"
    assert not seen["status"] or f"\nUid:\t{user[2]}\t" in seen["status"], "it runs as another user"
    assert user[6] == "/usr/sbin/nologin", f"its shell is {user[6]}"


def test_memory(seen: Any, options: dict[str, Any]) -> None:
    """its model is locked in memory, as far as the system permits."""
    if not options["mlock"]:
        pytest.skip("llama_server_mlock is false")
    found = re.search(r"VmLck:\s+(\d+) kB", seen["status"])
    limit = re.search(r"Max locked memory\s+(\S+)", seen["limits"])
    model = seen["model"]["size"]
    most = min(model, int(limit[1])) if limit and limit[1] != "unlimited" else model
    locked = int(found[1]) * 1024 if found else 0
    assert locked > 0.95 * most, f"{locked >> 20} MiB of {most >> 20} are locked"


def test_governor(seen: Any, variable: Any) -> None:
    """its CPU has the governor of pi_base_governor."""
    wanted = variable("pi_base_governor")
    if not wanted or not seen["governors"] or seen["container"]:
        pytest.skip("none is set, or this kernel has none")
    assert set(seen["governors"]) == {wanted}, f"it is {', '.join(sorted(set(seen['governors'])))}"


def test_throttling(seen: Any) -> None:
    """the board is not throttled, and has enough voltage."""
    state = throttled(seen["throttled"])
    if state["raw"] is None:
        pytest.skip("there is no vcgencmd")
    assert not state["now"], f"now: {', '.join(state['now'])}"
