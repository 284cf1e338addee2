"""On boards as people have them everything works, or is refused before anything is changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from naming import unnamed
from runs import JSONL, changed, refused, results, shown

SCENARIO = Path(__file__).resolve().parents[1]
PROJECT = SCENARIO.parents[1]
INVENTORY = PROJECT / "lab/inventory/fleet.py"
BOARDS = ("pi-01", "pi-02", "pi-03", "pi-04", "pi-05")
ASK = "import json, urllib.request as r; print(json.load(r.urlopen('http://127.0.0.1:8080/health'))['status'])"


@pytest.fixture(scope="session")
def inside(fleet: Any) -> Any:
    """Run a command as root on a board, whichever way leads there; return what it prints."""
    podman = Path(fleet.variable("localhost", "lab_host_cache")) / "lab/conditions/podman"

    def run(board: str, command: str) -> str:
        argv = [str(podman), "exec", f"conditions-{board}", "sh", "-c", command]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def play(run_playbook: Any) -> Any:
    """Run a playbook on this scenario's boards."""

    def run(*arguments: str) -> Any:
        return run_playbook("-i", str(SCENARIO / "inventory"), *arguments)

    return run


@pytest.mark.parametrize("board", BOARDS)
def test_it_serves(board: str, inside: Any) -> None:
    assert inside(board, f'http_proxy= python3 -c "{ASK}"') == "ok"


@pytest.mark.parametrize("board", BOARDS)
def test_the_model_is_roots_and_nothing_is_left_of_the_copy(board: str, inside: Any) -> None:
    folder = "/var/lib/llama/models/alphabet"
    assert inside(board, f"stat -L -c '%U %G %a' {folder}/current.gguf") == "root root 644"
    assert inside(board, f"ls -A {folder} | grep -c incoming || true") == "0"
    assert inside(board, "find /var/lib -name '.ik-llama-pi-test*'") == ""


def test_no_password_is_left_in_memory() -> None:
    assert not list(Path("/dev/shm").glob("psm_*"))


def test_an_account_of_the_name_is_left_alone(inside: Any) -> None:
    assert inside("pi-01", "getent passwd llama").endswith(":/home/llama:/bin/bash")
    assert inside("pi-01", "cat /home/llama/photos") == "photos"
    assert inside("pi-01", "ps -o user= -C llama-server") == "llm"


@pytest.mark.parametrize("case", ["another folder", "no such inventory", "an empty one", "everybody may write there"])
def test_the_first_second_says_how_to_begin(case: str, tmp_path: Path) -> None:
    """Without any inventory, or one that cannot be read, or where Ansible ignores the clone's ansible.cfg."""
    folder, inventory = PROJECT, tmp_path / "hosts.yml"
    if case == "an empty one":
        inventory.touch()
    elif case == "another folder":
        folder = tmp_path
    elif case == "everybody may write there":
        folder = tmp_path / "clone"
        others = shutil.ignore_patterns(".git", ".venv", ".*cache*", "mine", "dist")
        shutil.copytree(PROJECT, folder, symlinks=True, ignore=others)
        folder.chmod(0o777)
    given = ["-i", str(inventory)] if folder == PROJECT else []
    site = (PROJECT if case == "another folder" else folder) / "site.yml"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    run = subprocess.run(
        ["ansible-playbook", str(site), *given],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((run.stdout + run.stderr).split())
    assert run.returncode != 0
    assert said.count("cp -R inventory/sample inventory/mine") == 1, said
    assert "TASK" not in said


# One run for each: it says of every board what is wrong there.
REFUSED: dict[str, dict[str, tuple[dict[str, Any], tuple[Any, ...]]]] = {
    "passwords and privileges": {
        "pi-01": ({"ansible_become_password": "wrong"}, ("--ask-become-pass",)),
        "pi-02": ({"ansible_become_password": ""}, ("--ask-become-pass",)),
        "pi-04": ({"ansible_user": "ada", "ansible_become": True}, ("sudo",)),
        "pi-05": ({"ansible_become": False}, ("ansible_become",)),
    },
    "a board that is away": {
        "pi-04": ({"ansible_port": 9}, ("127.0.0.1", 9, "--limit '!pi-04'")),
    },
    "a login that fails": {
        "pi-01": ({"ansible_password": "wrong"}, ("ansible_user",)),
    },
    "options of the server": {
        "pi-01": (
            {
                "llama_server_user": "llama",
                "llama_server_host": "0.0.0.0:8080",
                "llama_server_extra": ["--ctx_size", "1"],
            },
            ("llama_server_user", "/home/llama", "0.0.0.0:8080", "--ctx_size", "llama_server_context"),
        ),
        # Other programs use all but 16 MiB of the memory there.
        "pi-02": ({"llama_server_threads": 2}, ("llama_server_memory_reserve_mib",)),
        "pi-03": (
            {
                "llama_server_host": "0.0.0.0",
                "llama_server_user": "llama-users",
                "llama_server_allow_from": "192.168.1.0/33",
                "llama_server_extra": ["--grammar-file", "/srv/none"],
            },
            (
                "llama_server_host",
                "llama_server_api_keys",
                "llama_server_user",
                "llama-users",
                "192.168.1.0/33",
                "--grammar-file",
                "/srv/none",
            ),
        ),
        "pi-04": (
            {
                "llama_server_port": 80800,
                "llama_server_cache_type_k": "q9_9",
                "llama_server_extra": ["--grammar-file", "/home/ada/.bashrc"],
            },
            ("80800", "llama_server_cache_type_k", "q9_9", "/home/ada/.bashrc", "ProtectHome"),
        ),
        "pi-05": (
            {
                "llama_server_alias": "my model\n",
                "llama_server_api_keys": ["first", "second one"],
                "llama_server_extra": ["--threads=2"],
            },
            ("llama_server_alias", "llama_server_api_keys", "--threads", "llama_server_threads"),
        ),
    },
    "a context that does not fit": {
        "pi-04": (
            {"llama_server_context": 900000000},
            ("llama_server_context", 900000000, "llama_server_memory_reserve_mib"),
        ),
    },
    "values of a wrong kind": {
        "pi-01": ({"llama_server_port": "eighty"}, ("llama_server_port", "eighty", "host_vars/pi-01.yml")),
        "pi-02": ({"llama_server_mlock": "perhaps"}, ("llama_server_mlock", "perhaps")),
        "pi-03": ({"llama_server_context": "16K"}, ("llama_server_context", "16K")),
        "pi-04": ({"llama_server_api_keys": {"mine": "first"}}, ("llama_server_api_keys",)),
        "pi-05": ({"llama_server_threads": "3 of 4"}, ("llama_server_threads", "3 of 4")),
    },
    "memory that other programs use where one would compile": {
        "pi-03": ({"ik_llama_build_strategy": "native"}, ("ik_llama_build_strategy",)),
    },
    "a build host with a newer C library": {
        "pi-05": (
            {"ik_llama_build_builder": "pi-03", "ik_llama_build_builder_root": "/opt/built"},
            ("2.36", "2.41", "ik_llama_build_strategy"),
        ),
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_changed(
    case: str, play: Any, inside: Any, tmp_path: Path
) -> None:
    boards = REFUSED[case]
    house = tmp_path / "house.yml"
    house.write_text(json.dumps({"pis": {"hosts": {board: variables for board, (variables, _) in boards.items()}}}))
    used = {"options of the server": ["pi-02"], "memory that other programs use where one would compile": ["pi-03"]}
    for board in used.get(case, []):
        inside(board, "sed 's/^MemAvailable: .*/MemAvailable: 16384 kB/' /proc/meminfo > /run/meminfo")
        inside(board, "mount --bind /run/meminfo /proc/meminfo")
    try:
        run = play("-i", str(house), "playbooks/preflight.yml")
    finally:
        for board in used.get(case, []):
            inside(board, "umount /proc/meminfo")
    assert run.returncode == 2, run.stdout
    for board, (_, names) in boards.items():
        assert unnamed(refused(run.stdout, board), board, *names) == []
    assert changed(run.stdout) == 0


def test_a_copy_that_cannot_work_is_refused_before_anything_is_changed(play: Any, inside: Any) -> None:
    """Ansible reaches the board, and the account of the login cannot: root alone may enter the folder of models."""
    inside("pi-02", "mv /var/lib/llama/models/alphabet /var/lib/llama/aside")
    inside("pi-02", "mount -t tmpfs -o size=300m,mode=0700 disk /var/lib/llama/models")
    try:
        run = play("playbooks/preflight.yml", "--limit", "pi-02:localhost")
        assert run.returncode == 2, run.stdout
        assert unnamed(refused(run.stdout, "pi-02"), "pi-02", "Permission denied") == []
        assert changed(run.stdout) == 0
        assert inside("pi-02", "ls -A /var/lib/llama/models") == ""
    finally:
        inside("pi-02", "umount /var/lib/llama/models")
        inside("pi-02", "mv /var/lib/llama/aside /var/lib/llama/models/alphabet")


def test_a_board_that_has_made_its_model_copies_it_itself(play: Any, inside: Any) -> None:
    """It gets a copy of its own: a link would lead into somebody's folder."""
    models = "/var/lib/llama/models/alphabet"
    inside("pi-04", f"mkdir -p /srv/models/alphabet && cp -L {models}/current.* /srv/models/alphabet && rm -r {models}")
    made = json.loads(inside("pi-04", "cat /srv/models/alphabet/current.json"))
    inside("pi-04", f"cd /srv/models/alphabet && mv current.gguf {made['file']} && mv current.json rpi5-16gb-card.json")
    variables = json.dumps({"gguf_distribute_from": "pi-04", "gguf_distribute_source_root": "/srv/models"})
    run = play("playbooks/distribute.yml", "--limit", "pi-04", "-e", variables)
    assert run.returncode == 0, shown(run.stdout)
    assert [result.host for result in results(run.stdout, "long_command") if result.changed] == ["pi-04"]
    assert inside("pi-04", f"sha256sum < {models}/current.gguf").split()[0] == made["sha256"]
    assert inside("pi-04", f"readlink -f {models}/current.gguf").startswith(models)


def test_a_recipe_with_another_name_makes_no_other_model(play: Any, fleet: Any, tmp_path: Path) -> None:
    """The quantizer has the model already, and only lacks a pointer of that name."""
    recipe = tmp_path / "of-the-house.yml"
    recipe.write_text((PROJECT / "roles/gguf_quantize/files/recipes/rpi5-16gb-card.yml").read_text())
    pointer = Path(fleet.variable("localhost", "gguf_quantize_root")) / "alphabet/of-the-house.json"
    pointer.unlink(missing_ok=True)
    try:
        variables = json.dumps({"gguf_quantize_recipe": str(recipe), "gguf_distribute_recipe": str(recipe)})
        run = play("site.yml", "--limit", "pi-03:localhost", "-e", variables)
        assert run.returncode == 0, refused(run.stdout)
        assert pointer.is_symlink()
        assert {result.host for result in results(run.stdout) if result.changed} == {"localhost"}
    finally:
        pointer.unlink(missing_ok=True)


def test_a_server_behind_a_firewall_is_known_to_answer_to_its_board_alone(play: Any, inside: Any) -> None:
    firewall = "ipproto tcp sport 8080 blackhole"  # after the rule for what the board sends to itself
    options = {
        "ansible_host": inside("pi-04", "hostname -I").split()[0],
        "ansible_port": 22,
        "ansible_ssh_extra_args": "-o HostKeyAlias=[127.0.0.1]:2294",
        "llama_server_host": "0.0.0.0",
        "llama_server_api_keys": ["the-key-of-this-house"],
    }
    for rule, reached in ((firewall, False), ("", True)):
        if rule:
            inside("pi-04", f"ip rule add {rule}")
        try:
            variables = json.dumps({**options, "llama_server_context": 4096 if reached else 8192})
            run = play("playbooks/serve.yml", "--limit", "pi-04", "-e", variables)
        finally:
            if rule:
                inside("pi-04", f"ip rule del {rule}")
        assert run.returncode == 0, refused(run.stdout)
        (asked,) = results(run.stdout, "uri")
        assert (asked.host, asked.data["status"] == 200) == ("pi-04", reached)


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory that everybody can reach; those of pytest are its own account's."""
    with tempfile.TemporaryDirectory(prefix="ik-llama-pi-home-") as folder:
        yield Path(folder)


def test_the_controller_is_an_ordinary_user_s(fleet: Any, inside: Any, home: Path) -> None:
    """He has no sudo, and writes below his home directory alone; a new model and a new option reach the board."""
    account: list[str] = []
    if os.geteuid() == 0:
        # Nobody in particular. The lab's files are root's, so he may read, and no more.
        os.chown(home, 65534, 65534)
        account = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
        account += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
    inside("pi-05", "rm -r /var/lib/llama/models/alphabet")
    # This account has no home directory of its own.
    house = home / "house.yml"
    house.write_text(
        json.dumps({"quantizers": {"hosts": {"localhost": {"ansible_remote_tmp": f"{home}/.ansible/tmp"}}}})
    )
    variables = {"llama_server_threads": 2, "gguf_distribute_work": f"{home}/copies"}
    command = ["ansible-playbook", f"--inventory={INVENTORY}", f"--inventory={SCENARIO / 'inventory'}"]
    command += [f"--inventory={house}", "site.yml", "--limit=pi-05:localhost", f"--extra-vars={json.dumps(variables)}"]
    cache = Path(fleet.variable("localhost", "lab_host_cache")).parent
    environment = {**os.environ, **JSONL, "HOME": str(home), "XDG_CACHE_HOME": str(cache)}
    run = subprocess.run(
        [*account, *command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, refused(run.stdout) + run.stderr
    assert [result.host for result in results(run.stdout, "long_copy") if result.changed] == ["pi-05"]
    assert "--threads 2" in inside("pi-05", "tr '\\0' ' ' < /proc/$(pidof llama-server)/cmdline")


def test_removing_leaves_what_is_not_ours(play: Any, inside: Any) -> None:
    """The last test: after it no board serves."""
    run = play("playbooks/remove.yml")
    assert run.returncode == 0, shown(run.stdout)
    assert inside("pi-01", "getent passwd llama").endswith(":/home/llama:/bin/bash")
    assert inside("pi-01", "getent passwd llm || true") == ""
    assert inside("pi-02", "ls -A /var/lib/llama/models").split() == ["lost+found", "mine.gguf"]
    assert unnamed(shown(run.stdout, "pi-02"), "mine.gguf") == []
    assert inside("pi-03", "getent group llama-users")
    assert {result.host for result in results(run.stdout, "gguf_prune") if result.changed} == set(BOARDS)
