"""Package sources, containers and preflight of the lab."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ik_llama.lab.plugins.module_utils.lab import (
    backports_source,
    board_containers,
    board_table,
    debian_sources,
    has_backports,
    lab_plan,
    lab_problems,
    lab_steps,
    qemu_to_update,
)
from naming import unnamed

PROJECT = Path(__file__).resolve().parents[2]
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEB822 = f"""Types: deb
# a remark
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: {KEY}

Types: deb deb-src
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By: {KEY}

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no
"""
ONE_LINE = """# all of it
deb http://mirror.example/debian bookworm main contrib  # here
deb [ arch=amd64 signed-by=/etc/apt/other.gpg ] http://vendor.example bookworm main
deb-src http://mirror.example/debian bookworm main
deb [trusted=yes] http://mirror.example/security bookworm-security main
"""


def test_deb822_sources_are_carried_over_to_another_suite() -> None:
    assert debian_sources({"debian.sources": DEB822}, "bookworm", "trixie") == [
        f"deb [signed-by={KEY}] http://mirror.example/debian trixie main",
        f"deb [signed-by={KEY}] http://mirror.example/debian trixie-updates main",
        f"deb [signed-by={KEY}] http://mirror.example/security trixie-security main",
    ]


def test_one_line_sources_leave_other_vendors_out() -> None:
    assert debian_sources({"sources.list": ONE_LINE}, "bookworm", "trixie") == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/security trixie-security main",
    ]


def test_a_key_inside_the_stanza_is_not_carried_over() -> None:
    text = "Types: deb\nURIs: http://a.example\nSuites: trixie\nComponents: main\nSigned-By:\n -----BEGIN\n .\n"
    assert debian_sources({"x.sources": text}, "trixie", "trixie") == []


def test_backports_come_from_the_same_address_with_the_same_key() -> None:
    assert backports_source({"debian.sources": DEB822}, "bookworm") == (
        f"deb [signed-by={KEY}] http://mirror.example/debian bookworm-backports main"
    )
    assert backports_source({}, "bookworm") == ""


def test_backports_that_stand_already_are_seen() -> None:
    assert not has_backports({"debian.sources": DEB822}, "bookworm")
    assert has_backports({"x.list": "deb http://a.example bookworm-backports main"}, "bookworm")


@pytest.mark.parametrize(
    ("versions", "renewed"),
    [
        ({}, ["qemu-user-static", "qemu-system-arm"]),
        ({"qemu-user-static": "1:7.2+dfsg-7+deb12u18"}, ["qemu-user-static", "qemu-system-arm"]),
        ({"qemu-user": "1:10.0.2+ds-2+deb13u1~bpo12+1"}, ["qemu-system-arm"]),
        ({"qemu-system-arm": "1:10.0.2+ds-2", "qemu-user-static": "1:10.0.2+ds-2"}, []),
    ],
)
def test_old_emulators_are_told_from_new(versions: dict[str, str], renewed: list[str]) -> None:
    assert qemu_to_update(["qemu-user-static", "qemu-system-arm"], versions) == renewed


def test_containers_are_read_from_podman() -> None:
    listed: list[dict[str, Any]] = [
        {
            "Names": ["demo-pi-01"],
            "State": "running",
            "Pid": 17,
            "Labels": {"ik-llama-pi.id": "ab", "ik-llama-pi.instance": "demo"},
        },
        {"Names": ["other"], "State": "exited", "Labels": None},
    ]
    assert board_containers(listed, {17}.__contains__) == {
        "demo-pi-01": {"running": True, "id": "ab", "instance": "demo"},
        "other": {"running": False, "id": "", "instance": ""},
    }


def test_a_container_that_lost_its_process_is_to_be_replaced() -> None:
    labels = {"ik-llama-pi.id": "ab", "ik-llama-pi.instance": "demo"}
    for state in ("running", "stopping"):
        listed = [{"Names": ["demo-pi-01"], "State": state, "Pid": 17, "Labels": labels}]
        assert board_containers(listed, set().__contains__)["demo-pi-01"] == {
            "running": False,
            "id": "",
            "instance": "demo",
        }


MACHINE: dict[str, Any] = {
    "architecture": "x86_64",
    "id": "debian",
    "codename": "bookworm",
    "root": True,
    "programs_missing": [],
    "versions": {"podman": "4.3.1", "qemu-user": "1:10.0.2"},
    "images": [],
    "free_mib": 50 << 10,
    "cache": "/c",
    "containers": {},
    "ports_busy": [],
    "apt_sources": {"debian.sources": DEB822},
    "apt_proxy": "",
    "certificates": {},
    "trees": {"board": "aa"},
}
WANTED: dict[str, Any] = {
    "cache": "/c",
    "instance": "demo",
    "boards": [{"name": "pi-01", "ssh_port": 2201}],
    "machines": [],
    "architecture": "aarch64",
    "suite": "trixie",
    "packages": ["sudo", "python3"],
    "host_packages": ["podman"],
    "qemu_packages": [],
    "image": {},
}


def plan(machine: dict[str, Any] | None = None, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    return lab_plan({**MACHINE, **(machine or {})}, {**WANTED, **(wanted or {})})


def image(machine: dict[str, Any] | None = None, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """The only image of a plan."""
    (made,) = plan(machine, wanted)["images"]
    return dict(made)


@pytest.mark.parametrize(
    ("change", "names", "others"),
    [
        ({}, [], []),
        ({"programs_missing": ["podman"]}, [], []),
        ({"programs_missing": ["podman"], "id": "arch", "codename": ""}, ["arch", "podman"], ["x86_64", "/c"]),
        ({"programs_missing": ["podman"], "root": False}, ["root", "podman"], ["debian", "bookworm"]),
        ({"root": False}, ["root"], ["podman", "debian", "bookworm"]),
        ({"architecture": "riscv64"}, ["riscv64", "x86_64", "aarch64"], ["root"]),
        ({"free_mib": 1024}, ["/c", "1.0", 4, "lab_host_space_gib", "lab_host_cache"], ["root"]),
        ({"free_mib": 1024, "images": [image()["image"]]}, [], []),
        ({"ports_busy": [2201]}, [2201, "pi-01", "lab_host_boards"], ["root"]),
        ({"ports_busy": [2201], "containers": {"demo-pi-01": {"running": True, "id": ""}}}, [], []),
    ],
)
def test_problems_of_a_machine(change: dict[str, Any], names: list[Any], others: list[str]) -> None:
    problems = lab_problems(plan(change), 4)
    assert len(problems) == bool(names)
    for problem in problems:
        assert unnamed(problem, *names) == []
        assert unnamed(problem, *others) == others


def test_the_order_of_packages_makes_no_other_root_file_system() -> None:
    assert image()["rootfs"] == image(wanted={"packages": ["python3", "sudo"]})["rootfs"]
    assert image()["rootfs"] != image(wanted={"packages": ["python3"]})["rootfs"]


def test_boards_of_another_debian_release_have_their_own_image() -> None:
    boards = [{"name": "pi-01", "ssh_port": 2201}, {"name": "pi-02", "ssh_port": 2202, "suite": "bookworm"}]
    made = plan(wanted={"boards": [*boards, {"name": "pi-03", "ssh_port": 2203}]})
    new, old = made["images"]
    assert [board["image"] for board in made["boards"]] == [new["image"], old["image"], new["image"]]
    assert (new["suite"], old["suite"]) == ("trixie", "bookworm")
    assert new["rootfs"] != old["rootfs"]
    assert all(" bookworm" in line for line in old["sources"]) and all(" trixie" in line for line in new["sources"])
    # One that is made already is not made again.
    there = plan({"images": [new["image"], new["rootfs_image"]]}, {"boards": boards})
    assert [image["image_missing"] for image in there["images"]] == [False, True]
    assert unnamed(" ".join(lab_steps(there)), "bookworm", old["rootfs"]) == []


@pytest.mark.parametrize(
    "change", [{"trees": {"board": "bb"}}, {"certificates": {"/a.crt": "00"}}, {"architecture": "aarch64"}]
)
def test_what_goes_into_the_image_names_it(change: dict[str, Any]) -> None:
    assert image(change)["image"] != image()["image"]
    assert image(change)["rootfs"] == image()["rootfs"]


@pytest.mark.parametrize(
    ("there", "standing"),
    [
        ({}, "absent"),
        ({"demo-pi-01": {"running": True, "id": "other"}}, "outdated"),
        ({"demo-pi-01": {"running": True, "id": plan()["boards"][0]["id"]}}, "running"),
        ({"demo-pi-01": {"running": False, "id": plan()["boards"][0]["id"]}}, "stopped"),
        ({"test-pi-01": {"running": True, "id": plan()["boards"][0]["id"]}}, "absent"),
    ],
)
def test_boards_are_compared_with_what_runs(there: dict[str, Any], standing: str) -> None:
    assert plan({"containers": there})["boards"][0]["state"] == standing


def test_steps_name_what_will_be_made_and_nothing_else() -> None:
    made = plan({"versions": {}})
    packages, rootfs, built, boards = lab_steps(made)
    assert unnamed(packages, "podman", "qemu-user-static") == []
    assert unnamed(rootfs, image()["rootfs"]) == unnamed(built, image()["image"]) == unnamed(boards, "pi-01") == []
    stands = {
        "images": [image()["image"], image()["rootfs_image"]],
        "containers": {"demo-pi-01": {"running": True, "id": plan()["boards"][0]["id"]}},
    }
    assert lab_steps(plan(stands)) == []
    assert plan()["change"]
    assert not plan(stands)["change"]


def test_machines_of_another_role_get_ssh_keys_and_are_no_containers() -> None:
    made = plan(wanted={"boards": [], "machines": [{"name": "pi-09", "ssh_port": 2209, "cores": 4}]})
    assert made["boards"] == []
    assert made["ssh_boards"] == [{"name": "pi-09", "ssh_port": 2209, "directory": "/c/lab/demo/boards/pi-09"}]


def test_the_table_names_each_board_with_its_ports() -> None:
    connection = {"ansible_ssh_private_key_file": "/c/lab/demo/key/id_ed25519", "llama_server_model": "m"}
    boards = [
        {"inventory_hostname": "pi-01", "ansible_port": 2201, **connection},
        {"inventory_hostname": "pi-02", "ansible_port": 2202, "llama_server_port": 8090, **connection},
    ]
    lines = board_table(boards, "/c")
    for line, words in zip(lines[1:], (("pi-01", "2201", ":8080/"), ("pi-02", "2202", ":8090/"))):
        assert all(word in line for word in words)
    assert "ssh -F /c/lab/demo/ssh_config pi-01" in lines[3]
    assert len(board_table([], "/c")) == 1


def test_an_arm64_machine_needs_no_emulator() -> None:
    assert plan({"versions": {}})["qemu"] == ["qemu-user-static"]
    arm64 = {"versions": {}, "architecture": "aarch64"}
    assert plan(arm64)["qemu"] == []
    assert plan(arm64, {"qemu_packages": ["qemu-system-arm"]})["qemu"] == ["qemu-system-arm"]


def test_boards_of_this_machines_own_kind_need_none_either_and_are_other_boards() -> None:
    native = plan({"versions": {}}, {"architecture": "native"})
    assert (native["architecture"], native["emulated"], native["qemu"]) == ("amd64", False, [])
    assert native["images"][0]["rootfs"] != image()["rootfs"]
    assert native["boards"][0]["id"] != plan()["boards"][0]["id"]
    assert image({"architecture": "aarch64"}, {"architecture": "native"})["rootfs"] == image()["rootfs"]


def test_a_fleet_is_reached_as_the_labs_boards_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    monkeypatch.setenv("LAB_FLEET", "mine")
    shown = json.loads(subprocess.check_output([PROJECT / "lab/inventory/fleet.py"]))
    text = (PROJECT / "lab/inventory/group_vars/arm64_boards.yml").read_text(encoding="utf-8")
    for variable, value in {"lab_host_cache": "/cache/ik-llama-pi", "lab_host_instance": "mine"}.items():
        text = text.replace("{{ " + variable + " }}", value)
    connection = {name: value for name, value in yaml.safe_load(text).items() if name.startswith("ansible_")}
    assert shown["native_containers"]["vars"] == connection
