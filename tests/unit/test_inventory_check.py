"""What is wrong with an inventory, shown without reaching a host."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import hyperparameters
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import read_header
from ansible_collections.ik_llama.pi.plugins.plugin_utils.inventory_check import (
    address_clashes,
    group_problems,
    misread,
    misspelt,
    thread_notes,
    where_set,
)
from gguf_files import QWEN35_METADATA, qwen35_tensors, stream
from naming import unnamed
from runs import JSONL, results

PROJECT = Path(__file__).resolve().parents[2]
KNOWN = ["llama_server_threads", "llama_server_port", "fleet_serial"]
NEEDED = {"pis": "serve", "quantizers": "make the model"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("llama_server_treads", "llama_server_threads"),
        ("lama_server_threads", "llama_server_threads"),
        ("fleet_seriall", "fleet_serial"),
        ("llama_server_zzz_something_else", ""),
    ],
)
def test_names_that_nobody_reads(name: str, meant: str) -> None:
    assert misspelt([name, "llama_server_port"], KNOWN, ["llama_server"], "") == {name: meant}


@pytest.mark.parametrize(
    "name", ["my_rack", "vault_llama_server_port", "ansible_port", "llama_server__internal", "llama_server_mine"]
)
def test_names_that_are_a_users_own(name: str) -> None:
    assert misspelt([name], KNOWN, ["llama_server"], "{{ llama_server_mine }}") == {}


OPTIONS: dict[str, dict[str, Any]] = {
    "llama_server_port": {"type": "int"},
    "llama_server_alias": {"type": "str"},
    "llama_server_api_keys": {"type": "list", "elements": "str"},
    "pi_base_swap": {"type": "str", "choices": ["off", "zram"]},
    "llama_server_mlock": {"type": "bool"},
}


@pytest.mark.parametrize(
    "line",
    [
        "llama_server_port: 010000",
        "llama_server_port: 4:16",
        "llama_server_alias: no",
        "llama_server_alias: 1.10",
        "llama_server_alias: 2026-11-26",
        "llama_server_api_keys: [abcdefgh, 012345670]",
        "ansible_port: 022",
    ],
)
def test_values_that_yaml_reads_as_something_else(line: str) -> None:
    name = line.partition(":")[0]
    assert [found[:2] for found in misread(f"---\n{line}\n", OPTIONS)] == [(name, 2)]
    assert [found[0] for found in misread(f"pis: {{hosts: {{pi-01: {{{line}}}}}}}", OPTIONS)] == [name]


@pytest.mark.parametrize(
    "line",
    [
        "llama_server_port: 8080",
        "llama_server_port: '010000'",
        "llama_server_port: 0",
        'llama_server_alias: "no"',
        "llama_server_alias: 35",
        "pi_base_swap: off",
        "llama_server_mlock: no",
        "llama_server_port: '{{ x }}'",
        "my_own: 010",
        "llama_server_alias: !vault |\n  010",
        "{",
    ],
)
def test_values_that_are_what_they_look_like(line: str) -> None:
    assert misread(f"---\n{line}\n", OPTIONS) == []


def test_where_a_variable_is_set() -> None:
    files = {
        "hosts.ini": "[pis]\npi-01 llama_server_port=1\n",
        "group_vars/pis.yml": "---\n# llama_server_port: 2\nllama_server_port: 3\n",
        "host_vars/pi-01.yml": "other_llama_server_port: 4\nllama_server_ports: 5\n",
    }
    assert where_set(files, "llama_server_port") == "group_vars/pis.yml:3"
    assert where_set({"hosts.ini": files["hosts.ini"]}, "llama_server_port") == "hosts.ini:2"
    assert where_set(files, "llama_server_host") == ""


def test_hosts_that_are_one() -> None:
    said = address_clashes({"a": ("10.0.0.1", "22"), "b": ("10.0.0.1", "2222"), "c": ("10.0.0.1", "22")})
    assert len(said) == 1
    assert unnamed(said[0], "a", "c", "10.0.0.1", 22, "ansible_host", "ansible_port") == []
    assert unnamed(said[0], "b", 2222) == ["b", "2222"]


def test_groups() -> None:
    assert group_problems({"pis": ["a"], "quantizers": ["b"], "rack_1": ["a"]}, NEEDED, ["builders"]) == []
    (problem,) = group_problems({"pi": ["a"], "quantizers": ["b"]}, NEEDED, [])
    assert unnamed(problem, "pis", "pi", NEEDED["pis"]) == []
    groups = {"pis": ["a"], "quantizers": ["b"], "builder": ["c"], "builders": ["d"]}
    (problem,) = group_problems(groups, NEEDED, ["builders"])
    assert unnamed(problem, "builder", "builders") == []
    assert unnamed(problem, "pis", "quantizers") == ["pis", "quantizers"]


def test_more_threads_than_cores() -> None:
    (note,) = thread_notes({"threads": 8, "threads_batch": 4}, 4)
    assert unnamed(note, "llama_server_threads", 8, 4) == []


def validate(inventory: Path, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run playbooks/validate.yml on an inventory: exit code, and what the action found (`problems`, `notes`)."""
    run = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), "playbooks/validate.yml"],
        cwd=PROJECT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            **JSONL,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    (found,) = results(run.stdout, "inventory_check")
    return run.returncode, found.data


def shown(said: list[dict[str, Any]], expected: list[tuple[list[str], list[Any]]]) -> None:
    """Assert that this was said and nothing else: the hosts that each is about, and what it names."""
    assert len(said) == len(expected), said
    for hosts, names in expected:
        fits = [entry for entry in said if entry["hosts"] == hosts and not unnamed(entry["text"], *names)]
        assert len(fits) == 1, (hosts, names, said)


#: One board, and this machine makes the model.
ONE_BOARD = """\
    all:
      children:
        pis: {hosts: {pi-01: {}}}
        quantizers: {hosts: {localhost: {ansible_connection: local}}}
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write an inventory; returns its hosts file."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder / "hosts.yml"


def test_the_inventories_of_the_project_are_right() -> None:
    for inventory in ("inventory/sample/hosts.yml", "lab/inventory/containers.yml", "lab/inventory/fleet.py"):
        code, said = validate(PROJECT / inventory)
        assert (code, said["problems"]) == (0, [])


def test_an_inventory_of_mistakes(tmp_path: Path) -> None:
    """Every mistake is shown in one run, with its host, its variable and where it stands."""
    hosts = write(
        tmp_path,
        {
            "hosts.yml": """\
                all:
                  children:
                    pis:
                      hosts:
                        pi-01: {ansible_host: 192.0.2.1}
                        pi-02: {ansible_host: 192.0.2.1}
                        pi-03: {ansible_host: 192.0.2.3, llama_server_host: 0.0.0.0}
                    quantizer:
                      hosts:
                        workshop: {ansible_host: 192.0.2.9, ansible_port: twenty}
                """,
            "group_vars/pis.yml": """\
                gguf_distribute_from: worksop
                gguf_distribute_recipe: rpi5-16gb-cart
                llama_server_flash_attention: true
                """,
            "host_vars/pi-01.yml": """\
                llama_server_port: many
                llama_server_treads: 2
                """,
            "host_vars/pi-02.yml": """\
                llama_server_port: 99999
                pi_base_swap: sometimes
                llama_server_api_keys: ["{{ vault_key_of_nobody }}"]
                """,
        },
    )
    code, said = validate(hosts)
    assert code != 0
    group, first, second = (
        f"{tmp_path}/{name}.yml" for name in ("group_vars/pis", "host_vars/pi-01", "host_vars/pi-02")
    )
    boards = ["pi-01", "pi-02", "pi-03"]
    shown(
        said["problems"],
        [
            ([], ["quantizers", "quantizer"]),
            ([], ["pi-01", "pi-02", "192.0.2.1", 22]),
            (["workshop"], ["ansible_port", "twenty"]),
            (["pi-01"], ["llama_server_treads", f"{first}:2", "llama_server_threads"]),
            (["pi-01"], ["llama_server_port", f"{first}:1"]),
            (boards, ["llama_server_flash_attention", f"{group}:3"]),
            (["pi-02"], ["pi_base_swap", f"{second}:2", "keep", "off", "zram"]),
            (["pi-02"], ["llama_server_api_keys", f"{second}:3"]),
            (["pi-03"], ["gguf_distribute_from", "worksop"]),
            (["pi-03"], ["gguf_distribute_recipe", "rpi5-16gb-cart", "rpi5-16gb-card"]),
            (["pi-03"], ["llama_server_host", "0.0.0.0", "llama_server_api_keys"]),
        ],
    )


def test_a_file_beside_a_folder_of_its_name_is_told(tmp_path: Path) -> None:
    hosts = write(
        tmp_path,
        {
            "hosts.yml": ONE_BOARD,
            "group_vars/pis.yml": "llama_server_port: 8081\n",
            "group_vars/pis/vault.yml": "vault_llama_server_api_key: not-a-real-key\n",
        },
    )
    code, said = validate(hosts)
    assert code != 0
    shown(said["problems"], [([], [f"{tmp_path}/group_vars/pis.yml", f"{tmp_path}/group_vars/pis"])])


def test_the_model_is_copied_from_where_it_is_made(tmp_path: Path) -> None:
    hosts = write(
        tmp_path,
        {
            "hosts.yml": """\
                all:
                  children:
                    pis: {hosts: {pi-01: {}}}
                    quantizers: {hosts: {workshop: {}}}
                """,
        },
    )
    code, said = validate(hosts)
    assert code != 0
    shown(said["problems"], [(["pi-01"], ["gguf_distribute_from", "localhost"])])


def test_memory_from_the_manifest_of_a_model_that_is_made(tmp_path: Path) -> None:
    hparams = hyperparameters(read_header(stream(QWEN35_METADATA, qwen35_tensors())))
    hosts = write(
        tmp_path,
        {
            "hosts.yml": """\
                all:
                  children:
                    pis: {hosts: {pi-01: {}, pi-02: {fleet_forecast_board: rpi5-8gb, llama_server_threads: 6}}}
                    quantizers: {hosts: {localhost: {ansible_connection: local}}}
                """,
            "group_vars/pis.yml": f"gguf_distribute_source_root: {tmp_path}\n",
            "qwen3.5-35b-a3b/rpi5-16gb-fast.json": json.dumps({"tensor_bytes": 12_218_867_968, "hparams": hparams}),
        },
    )
    code, said = validate(hosts)
    assert code != 0
    shown(said["problems"], [(["pi-02"], [12466, "llama_server_context", 16384])])
    shown(said["notes"], [(["pi-02"], ["llama_server_threads", 6, 4])])


def test_a_vault_that_is_closed_is_no_mistake(tmp_path: Path) -> None:
    secret = "$ANSIBLE_VAULT;1.1;AES256\n" + "\n".join(["3" * 80] * 4)
    indented = textwrap.indent(secret, " " * 10)
    hosts = write(
        tmp_path,
        {
            "hosts.yml": ONE_BOARD,
            "group_vars/pis.yml": "llama_server_host: 0.0.0.0\nllama_server_api_keys:\n  - !vault |\n"
            + indented
            + "\n",
        },
    )
    code, said = validate(hosts)
    assert (code, said["problems"]) == (0, [])
