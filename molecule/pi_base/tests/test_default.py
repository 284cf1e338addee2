"""A board has what the other roles need, reports what is wrong with it, and its settings come and go."""

from __future__ import annotations

from typing import Any

from naming import unnamed
from runs import changed, diffs, refused, shown, stats

FIXTURE = "/var/tmp/pi_base"
GOVERNOR = f"{FIXTURE}/cpufreq/policy0/scaling_governor"
CONFIG = f"{FIXTURE}/config.txt"
JOURNAL = "/etc/systemd/journald.conf.d/90-ik-llama-pi.conf"
UNIT = "/etc/systemd/system/ik-llama-pi-governor.service"


def test_packages_are_there(board: Any) -> None:
    for package in ("rsync", "libgomp1"):
        assert board.package(package).is_installed
    assert board.run("rsync --version").rc == 0


def test_governor_now_and_at_each_start(board: Any) -> None:
    assert board.file(GOVERNOR).content_string == "performance\n"
    assert board.service("ik-llama-pi-governor").is_enabled
    board.check_output("echo ondemand > %s", GOVERNOR)
    board.check_output("systemctl restart ik-llama-pi-governor")
    assert board.file(GOVERNOR).content_string == "performance\n"


def test_journal_is_limited(board: Any) -> None:
    assert "SystemMaxUse=200M" in board.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert board.service("systemd-journald").is_running


def test_firmware_is_configured_and_what_was_there_stays(board: Any) -> None:
    lines = board.file(CONFIG).content_string.splitlines()
    assert lines[:3] == ["dtparam=audio=on", "[cm4]", "otg_mode=1"]
    assert lines[4:7] == ["[all]", "dtparam=pciex1_gen=3", "dtoverlay=disable-bt"]
    assert board.file("/run/reboot-required.pkgs").content_string == "config.txt (pi_base)\n"


def test_nothing_to_do_is_few_tasks_and_every_warning_once(run_playbook: Any) -> None:
    output = run_playbook("molecule/pi_base/converge.yml").stdout
    # The arguments, the inclusion of preflight, the facts, what they mean, and the plan.
    counts = stats(output)["pi-01"]
    assert (counts["ok"], counts["changed"]) == (5, 0)
    lines = shown(output, "pi-01", "ok").splitlines()
    for names in (["under-voltage"], ["throttled"], ["config.txt", "pi_base_allow_reboot"]):
        assert len([line for line in lines if not unnamed(line, "pi-01", *names)]) == 1, (names, lines)


def test_what_would_change_is_reported_and_not_done(board: Any, run_playbook: Any) -> None:
    change = ("-e", "pi_base_journal_mib=50", "-e", "pi_base_governor=schedutil")
    run = run_playbook("molecule/pi_base/converge.yml", "--check", "--diff", *change)
    assert run.returncode == 0, run.stdout
    lines = shown(run.stdout, "pi-01", "ok").splitlines()
    assert any(not unnamed(line, "pi-01", "performance", "schedutil", 50) for line in lines), lines
    assert any("SystemMaxUse=200M" in old and "SystemMaxUse=50M" in new for old, new in diffs(run.stdout))
    assert "SystemMaxUse=200M" in board.file(JOURNAL).content_string
    assert board.file(GOVERNOR).content_string == "performance\n"


def test_a_board_that_cannot_serve_is_refused_with_every_reason(board: Any, run_playbook: Any) -> None:
    wrong = (
        '{"pi_base_architectures": ["riscv64"], "pi_base_min_memory_mib": 99999999, "pi_base_min_disk_mib": 99999999,'
        ' "pi_base_config_txt_path": "/nowhere/config.txt"}'
    )
    run = run_playbook("molecule/pi_base/converge.yml", "-e", wrong)
    assert run.returncode == 2
    told_all = refused(run.stdout, "pi-01")
    assert unnamed(told_all, "pi-01", board.check_output("uname -m"), "riscv64", "pi_base_architectures") == []
    assert unnamed(told_all, 99999999, "pi_base_min_memory_mib", "/var/lib", "pi_base_min_disk_mib") == []
    assert unnamed(told_all, "/nowhere/config.txt", "pi_base_config_txt_path") == []


def test_a_variable_of_the_wrong_kind_is_refused(run_playbook: Any) -> None:
    run = run_playbook(
        "molecule/pi_base/converge.yml", "-e", '{"pi_base_min_disk_mib": "much", "pi_base_swap": "some"}'
    )
    assert run.returncode == 2
    names = ("pi_base_min_disk_mib", "pi_base_swap", "keep", "off", "zram")
    assert unnamed(refused(run.stdout, "pi-01"), *names) == []


def test_everything_is_removed_and_what_others_wrote_stays(board: Any, run_playbook: Any) -> None:
    """The last test: after it the board is as it was."""
    board.check_output("echo later=1 >> %s", CONFIG)
    run = run_playbook("molecule/pi_base/remove.yml")
    assert run.returncode == 0, run.stdout
    assert board.file(CONFIG).content_string == "dtparam=audio=on\n[cm4]\notg_mode=1\nlater=1\n"
    assert board.file(GOVERNOR).content_string == "ondemand\n"
    for path in (JOURNAL, UNIT, f"{CONFIG}.before-ansible", JOURNAL.rpartition("/")[0]):
        assert not board.file(path).exists, path
    assert board.check_output("systemctl show -P LoadState ik-llama-pi-governor") == "not-found"
    assert changed(run_playbook("molecule/pi_base/remove.yml").stdout) == 0
