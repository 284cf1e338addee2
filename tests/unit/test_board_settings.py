"""Which steps a board needs, and that each of them is taken back."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.board.settings import (
    GOVERNOR,
    JOURNAL,
    NO_DPHYS,
    NO_SWAP_UNIT,
    NO_ZRAMSWAP,
    RPI_SWAP,
    SYSCTL,
    ZRAM,
    board_steps,
    config_lines,
)
from naming import unnamed

BOARD: dict[str, Any] = {
    "governor": "ondemand",
    "swappiness": 60,
    "swap_mib": 512,
    "zram": False,
    "settings": {},
    "config_txt": None,
    "systems": [],
    "reboot_pending": [],
}
DEFAULTS: dict[str, Any] = {
    "governor": "performance",
    "swappiness": 10,
    "journal_mib": 200,
    "swap": "keep",
    "zram_mib": 2048,
    "config_txt": [],
    "allow_reboot": False,
    "cpufreq": "/sys/devices/system/cpu/cpufreq",
    "own_kernel": True,
}
NOTHING = {**DEFAULTS, "governor": "", "swappiness": -1, "journal_mib": 0}


def after(board: dict[str, Any], steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The board as it is when the files of these steps are written."""
    settings = dict(board["settings"])
    for step in steps.values():
        settings.update({file["path"]: file["text"].strip() for file in step["files"]})
    return {**board, "settings": {path: text for path, text in settings.items() if text}, **changes}


def files(step: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["text"] for file in step["files"]}


def test_a_new_board_gets_the_defaults_once() -> None:
    steps = board_steps(BOARD, DEFAULTS)
    assert list(steps) == ["governor", "sysctl", "journald"]
    assert (
        "echo performance | tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor"
        in files(steps["governor"])[GOVERNOR]
    )
    assert "vm.swappiness = 10" in files(steps["sysctl"])[SYSCTL]
    assert "SystemMaxUse=200M" in files(steps["journald"])[JOURNAL]
    assert unnamed(steps["governor"]["say"], "governor", "ondemand", "performance") == []
    assert unnamed(steps["sysctl"]["say"], "swappiness", 60, 10) == []
    assert unnamed(steps["journald"]["say"], "journal", 200) == []
    assert board_steps(after(BOARD, steps, governor="performance", swappiness=10), DEFAULTS) == {}


def test_what_was_before_is_remembered_and_comes_back() -> None:
    first = board_steps(BOARD, DEFAULTS)
    board = after(BOARD, first, governor="performance", swappiness=10)
    second = board_steps(board, {**DEFAULTS, "governor": "schedutil", "swappiness": 20})
    assert "ExecStop=/bin/sh -c 'echo ondemand " in files(second["governor"])[GOVERNOR]
    board = after(board, second, governor="schedutil", swappiness=20)
    back = board_steps(board, NOTHING)
    assert list(back) == ["governor", "sysctl", "journald"]
    assert back["governor"]["state"] == "stopped"
    assert back["sysctl"]["value"] == 60
    assert all(not file["text"] for step in back.values() for file in step["files"])
    assert board_steps(after(board, back, governor="ondemand", swappiness=60), NOTHING) == {}


def test_a_value_that_drifted_is_set_again() -> None:
    board = after(BOARD, board_steps(BOARD, DEFAULTS), governor="performance", swappiness=60)
    assert list(board_steps(board, DEFAULTS)) == ["sysctl"]
    assert list(board_steps({**board, "swappiness": 10, "governor": "ondemand, performance"}, DEFAULTS)) == ["governor"]


def test_a_container_sets_nothing_of_its_hosts_kernel() -> None:
    wanted = {**DEFAULTS, "own_kernel": False, "swap": "off"}
    assert list(board_steps(BOARD, wanted)) == ["journald"]


def test_a_kernel_without_frequencies_gets_no_governor() -> None:
    assert "governor" not in board_steps({**BOARD, "governor": ""}, DEFAULTS)


@pytest.mark.parametrize(
    ("policy", "systems", "paths", "units", "late"),
    [
        ("off", [], [NO_SWAP_UNIT, NO_DPHYS, NO_ZRAMSWAP], [], False),
        ("off", ["dphys-swapfile"], [NO_SWAP_UNIT, NO_DPHYS, NO_ZRAMSWAP], ["dphys-swapfile.service"], False),
        ("off", ["rpi-swap"], [RPI_SWAP, NO_SWAP_UNIT, NO_DPHYS, NO_ZRAMSWAP], [], True),
        ("zram", ["rpi-swap"], [RPI_SWAP], [], True),
        ("zram", ["dphys-swapfile"], [ZRAM, NO_DPHYS], ["dphys-swapfile.service"], False),
        ("zram", ["zram-tools"], [NO_DPHYS], [], False),
    ],
)
def test_swap_and_back(policy: str, systems: list[str], paths: list[str], units: list[str], late: bool) -> None:
    board = {**BOARD, "systems": systems, "governor": ""}
    wanted = {**NOTHING, "swap": policy}
    step = board_steps(board, wanted)["swap"]
    assert list(files(step)) == paths
    assert (step["stop"], step["late"], step["swapoff"]) == (units, late, policy == "off")
    assert step["packages"] == ["systemd-zram-generator"] * (ZRAM in paths)
    set_up = after(board, {"swap": step}, swap_mib=0 if policy == "off" else 512, zram=policy == "zram")
    assert board_steps(set_up, wanted) == {}
    back = board_steps(set_up, NOTHING)["swap"]
    assert set(files(back)) == set(paths)
    assert not any(files(back).values())
    assert back["start"] == units + ["swap.target"] * (policy == "off")
    assert back["stop"] == ["dev-zram0.swap", "systemd-zram-setup@zram0.service"] * (ZRAM in paths)


def test_swap_that_came_back_is_taken_away_again() -> None:
    board = after(BOARD, board_steps(BOARD, {**NOTHING, "swap": "off"}))
    assert board_steps(board, {**NOTHING, "swap": "off"})["swap"]["swapoff"]


def test_config_txt() -> None:
    assert config_lines(False, []) == []
    wanted = {**NOTHING, "config_txt": config_lines(True, ["dtoverlay=disable-bt"])}
    lines = ["[all]", "dtparam=pciex1_gen=3", "dtoverlay=disable-bt"]
    assert wanted["config_txt"] == lines
    assert board_steps({**BOARD, "config_txt": []}, wanted)["firmware"]["lines"] == lines
    assert board_steps({**BOARD, "config_txt": lines}, wanted) == {}
    assert board_steps({**BOARD, "config_txt": lines}, NOTHING)["firmware"]["lines"] == []
    assert board_steps({**BOARD, "config_txt": None}, NOTHING) == {}


def test_a_restart_only_where_it_is_allowed_and_due() -> None:
    due = {**BOARD, "config_txt": [], "reboot_pending": ["config.txt (pi_base)"]}
    allowed = {**NOTHING, "allow_reboot": True}
    assert board_steps(due, NOTHING) == {}
    assert list(board_steps(due, allowed)) == ["reboot"]
    assert board_steps(BOARD, allowed) == {}
    assert list(board_steps({**due, "reboot_pending": []}, {**allowed, "config_txt": ["[all]", "x=1"]})) == [
        "firmware",
        "reboot",
    ]
