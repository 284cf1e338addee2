"""What must hold on a board that serves. The first line of each docstring is what `make verify` says of it."""

from __future__ import annotations

import json
import re
from typing import Any

import ansible.module_utils as _module_utils
import pytest
from boards import PROJECT, completion, process, request

if str(PROJECT / "plugins/module_utils") not in _module_utils.__path__:
    _module_utils.__path__.append(str(PROJECT / "plugins/module_utils"))

from ansible.module_utils.board import throttled
from ansible.module_utils.server import server_arguments

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
def deployment(board: Any) -> dict[str, Any]:
    """The manifest of the deployment that the pointer names."""
    told: dict[str, Any] = json.loads(board.file(f"{ROOT}/current/deployment.json").content_string)
    return told


@pytest.fixture(scope="session")
def key_file(board: Any, variable: Any) -> str:
    """Where the API keys are on the board, empty if it has none."""
    path = str(variable("llama_server__api_key_file"))
    return path if board.file(path).exists else ""


def test_service(board: Any) -> None:
    """the service runs, and starts with the board."""
    shown = board.check_output("systemctl show -P ActiveState -P UnitFileState llama-server").split()
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


def test_listens(board: Any, variable: Any) -> None:
    """it listens where llama_server_host and llama_server_port say, and nowhere else."""
    pid = process(board)["pid"]
    lines = [line for line in board.check_output("ss -Htlnp").splitlines() if f"pid={pid}," in line]
    addresses = {line.split()[3] for line in lines}
    host, port = str(variable("llama_server_host")), variable("llama_server_port")
    allowed = {f"{address}:{port}" for address in ADDRESSES.get(host, {f"[{host}]" if ":" in host else host})}
    assert addresses, "it listens nowhere"
    assert addresses <= allowed, f"it listens on {', '.join(sorted(addresses - allowed))}"


def test_pointer(board: Any) -> None:
    """what runs is the deployment that the pointer names."""
    assert process(board)["cwd"] == board.check_output("readlink -f %s", f"{ROOT}/current")


def test_options(board: Any, variable: Any, deployment: dict[str, Any]) -> None:
    """it was started with the options that the inventory says."""
    wanted = [shown for flag in server_arguments(variable("llama_server__options")) if (shown := " ".join(flag))]
    served = [" ".join(flag) for flag in deployment["arguments"]]
    differ = [f"not {flag}" for flag in wanted if flag not in served] + [flag for flag in served if flag not in wanted]
    assert not differ, f"it has {', '.join(differ)}"


def test_unit(board: Any) -> None:
    """its unit is the deployment's own, and confined."""
    unit = board.file(UNIT).content_string
    assert unit == board.file(f"{ROOT}/current/llama-server.service").content_string, "the unit was changed"
    lacks = [line for line in CONFINED if f"\n{line}\n" not in unit]
    assert not lacks, f"it lacks {', '.join(lacks)}"


def test_model(board: Any, deployment: dict[str, Any]) -> None:
    """its model is the one that was verified, and whole."""
    path = board.check_output("readlink -f %s", f"{ROOT}/current/model")
    manifest = json.loads(board.file(re.sub(r"[.]gguf$", ".json", path)).content_string)
    assert manifest["sha256"] == deployment["model"], "its manifest is another model's"
    size = board.file(path).size
    assert size == manifest["size"], f"it has {size} bytes, not {manifest['size']}"


def test_engine(board: Any, deployment: dict[str, Any]) -> None:
    """its engine is the deployment's, and starts."""
    path = board.check_output("readlink -f %s", f"{ROOT}/current/engine")
    assert path.endswith(f"/releases/{deployment['engine']}"), f"it is {path}"
    told = board.run("%s --version", f"{path}/bin/llama-server")
    assert told.rc == 0, told.stderr.strip()


def test_owners(board: Any, key_file: str) -> None:
    """only root can change what serves, and only the service reads the keys."""
    names = ("deployments", "current/run", "current/deployment.json", "current/engine/bin")
    paths = " ".join([*(f"{ROOT}/{name}" for name in names), UNIT])
    for line in board.check_output(f"stat --dereference --format='%U:%G %a %n' {paths}").splitlines():
        owner, mode, path = line.split(" ", 2)
        assert owner == "root:root", f"{path} belongs to {owner}"
        assert not int(mode, 8) & 0o022, f"{path} has mode {mode}"
    if key_file:
        told = board.check_output("stat --format=%s %s", "%U:%G %a", key_file)
        assert told == "root:llama 640", f"{key_file} is {told}"


def test_user(board: Any) -> None:
    """it runs as a user of its own that nobody logs in as."""
    uid, shell = board.check_output("getent passwd llama").split(":")[2::4]
    assert f"Uid:\t{uid}\t" in process(board)["text"], "it runs as another user"
    assert shell == "/usr/sbin/nologin", f"its shell is {shell}"


def test_memory(board: Any, variable: Any) -> None:
    """its model is locked in memory, as far as the system lets it."""
    if not variable("llama_server__options")["mlock"]:
        pytest.skip("llama_server_mlock is false")
    text = process(board)["text"]
    found = re.search(r"VmLck:\s+(\d+) kB", text)
    limit = re.search(r"Max locked memory\s+(\S+)", text)
    model = board.file(board.check_output("readlink -f %s", f"{ROOT}/current/model")).size
    most = min(model, int(limit[1])) if limit and limit[1] != "unlimited" else model
    locked = int(found[1]) * 1024 if found else 0
    assert locked > 0.95 * most, f"{locked >> 20} MiB of {most >> 20} are locked"


def test_governor(board: Any, variable: Any) -> None:
    """its processor has the governor of pi_base_governor."""
    wanted = variable("pi_base_governor")
    governors = set(board.run("cat /sys/devices/system/cpu/cpufreq/policy*/scaling_governor").stdout.split())
    if not wanted or not governors or board.file("/run/systemd/container").exists:
        pytest.skip("none is set, or this kernel has none")
    assert governors == {wanted}, f"it is {', '.join(sorted(governors))}"


def test_throttling(board: Any) -> None:
    """it is not throttled, and has enough voltage."""
    told = throttled(board.run("PATH=$PATH:/opt/vc/bin vcgencmd get_throttled").stdout)
    if told["raw"] is None:
        pytest.skip("there is no vcgencmd")
    assert not told["now"], f"now: {', '.join(told['now'])}"
