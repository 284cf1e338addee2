"""What must hold on a board that serves. The first line of each docstring is what `make verify` says of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.board.hardware import throttled
from ansible_collections.ik_llama.pi.plugins.module_utils.server.options import server_arguments
from boards import completion, look, request

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
# How `ss` writes the addresses that a server is told to listen on.
ADDRESSES = {"0.0.0.0": {"0.0.0.0", "*"}, "::": {"[::]", "*"}, "localhost": {"127.0.0.1", "[::1]"}}


@pytest.fixture(scope="session")
def seen(board: Any, variable: Any) -> Any:
    """What the board looks like."""
    return look(board, ROOT, UNIT, variable("llama_server__api_key_file"))


@pytest.fixture(scope="session")
def deployment(seen: Any) -> Any:
    """The manifest of the deployment that the pointer names."""
    assert seen["deployment"], "nothing is in service"
    return json.loads(seen["deployment"])


@pytest.fixture(scope="session")
def key_file(seen: Any, variable: Any) -> str:
    """Where the API keys are on the board, empty if it has none."""
    return str(variable("llama_server__api_key_file")) if seen["key_file"] else ""


def test_service(seen: Any) -> None:
    """the service runs, and starts with the board."""
    shown = [seen["state"].get(name, "") for name in ("ActiveState", "UnitFileState")]
    assert shown == ["active", "enabled"], f"it is {' and '.join(shown)}"


def test_health(board: Any, variable: Any) -> None:
    """it says that it is well."""
    status, answer = request(board, f"{variable('llama_server__url')}/health")
    assert status == 200, f"{status} {answer}"


def test_answer(board: Any, variable: Any, key_file: str) -> None:
    """it answers llama_server_probe_question as llama_server_probe_expect wants it."""
    question = completion(variable("llama_server_probe_question"), int(variable("llama_server_probe_tokens")))
    url = f"{variable('llama_server__url')}/v1/chat/completions"
    status, reply = request(board, url, question, key_file, timeout=300)
    assert status == 200, f"{status} {reply}"
    message = json.loads(reply)["choices"][0]["message"]
    answer = (message.get("content") or message.get("reasoning_content") or "").strip()
    assert re.match(variable("llama_server_probe_expect"), answer), f"it answered {answer!r}"


def test_key(board: Any, variable: Any, key_file: str) -> None:
    """who has no key gets no answer, and without any key nobody else can ask."""
    if not key_file:
        assert variable("llama_server_host") in ("127.0.0.1", "::1", "localhost"), "it has no key and can be reached"
        return
    status, _ = request(board, f"{variable('llama_server__url')}/v1/chat/completions", completion("Hello.", 1))
    assert status == 401, f"without a key it says {status}"


def test_listens(seen: Any, variable: Any) -> None:
    """it listens where llama_server_host and llama_server_port say, and nowhere else."""
    lines = [line for line in seen["listening"].splitlines() if f"pid={seen['state']['MainPID']}," in line]
    addresses = {line.split()[3] for line in lines}
    host, port = str(variable("llama_server_host")), variable("llama_server_port")
    allowed = {f"{address}:{port}" for address in ADDRESSES.get(host, {f"[{host}]" if ":" in host else host})}
    assert addresses, "it listens nowhere"
    assert addresses <= allowed, f"it listens on {', '.join(sorted(addresses - allowed))}"


def test_pointer(seen: Any) -> None:
    """what runs is the deployment that the pointer names."""
    assert seen["cwd"] == seen["current"], f"it works in {seen['cwd'] or 'nothing'}, not in {seen['current']}"


def test_options(variable: Any, deployment: dict[str, Any]) -> None:
    """it was started with the options that the inventory says."""
    wanted = [" ".join(flag) for flag in server_arguments(variable("llama_server__options"))]
    served = [" ".join(flag) for flag in deployment["arguments"]]
    differ = [f"not {flag}" for flag in wanted if flag not in served] + [flag for flag in served if flag not in wanted]
    assert not differ, f"it has {', '.join(differ)}"


def test_unit(seen: Any) -> None:
    """its unit is the deployment's own, and confined."""
    assert seen["unit"] == seen["own_unit"], "the unit was changed"
    lacks = [line for line in CONFINED if f"\n{line}\n" not in seen["unit"]]
    assert not lacks, f"it lacks {', '.join(lacks)}"


def test_model(seen: Any, deployment: dict[str, Any]) -> None:
    """its model is the one that was verified, and whole."""
    model = seen["model"]
    assert model["manifest"], f"{model['path']} has no manifest"
    manifest = json.loads(model["manifest"])
    assert manifest["sha256"] == deployment["model"], "its manifest is another model's"
    assert model["size"] == manifest["size"], f"it has {model['size']} bytes, not {manifest['size']}"


def test_engine(seen: Any, deployment: dict[str, Any]) -> None:
    """its engine is the deployment's, and starts."""
    engine = seen["engine"]
    assert engine["path"].endswith(f"/releases/{deployment['engine']}"), f"it is {engine['path']}"
    assert engine["version"][0] == 0, engine["version"][1]


def test_owners(seen: Any) -> None:
    """only root can change what serves, and only the service reads the keys."""
    assert len(seen["owners"]) == 7, f"there are only {', '.join(seen['owners'])}"
    for path, (user, group, mode) in seen["owners"].items():
        assert (user, group) == ("root", "root"), f"{path} belongs to {user}:{group}"
        assert not int(mode, 8) & 0o022, f"{path} has mode {mode}"
    assert seen["key_file"] in ([], ["root", "llama", "640"]), f"the keys are {' '.join(seen['key_file'])}"


def test_user(seen: Any) -> None:
    """it runs as a user of its own that nobody logs in as."""
    user: list[str] = next((line.split(":") for line in seen["users"].splitlines() if line.startswith("llama:")), [])
    assert user, "there is no user llama"
    assert not seen["status"] or f"\nUid:\t{user[2]}\t" in seen["status"], "it runs as another user"
    assert user[6] == "/usr/sbin/nologin", f"its shell is {user[6]}"


def test_memory(seen: Any, variable: Any) -> None:
    """its model is locked in memory, as far as the system lets it."""
    if not variable("llama_server__options")["mlock"]:
        pytest.skip("llama_server_mlock is false")
    found = re.search(r"VmLck:\s+(\d+) kB", seen["status"])
    limit = re.search(r"Max locked memory\s+(\S+)", seen["limits"])
    model = seen["model"]["size"]
    most = min(model, int(limit[1])) if limit and limit[1] != "unlimited" else model
    locked = int(found[1]) * 1024 if found else 0
    assert locked > 0.95 * most, f"{locked >> 20} MiB of {most >> 20} are locked"


def test_governor(seen: Any, variable: Any) -> None:
    """its processor has the governor of pi_base_governor."""
    wanted = variable("pi_base_governor")
    if not wanted or not seen["governors"] or seen["container"]:
        pytest.skip("none is set, or this kernel has none of its own")
    assert set(seen["governors"]) == {wanted}, f"it is {', '.join(sorted(set(seen['governors'])))}"


def test_throttling(seen: Any) -> None:
    """it is not throttled, and has enough voltage."""
    told = throttled(seen["throttled"])
    if told["raw"] is None:
        pytest.skip("there is no vcgencmd")
    assert not told["now"], f"now: {', '.join(told['now'])}"
