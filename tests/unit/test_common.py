"""Tests of module_utils/common: disk, files, systemd, net, digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common import net, systemd
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_file
from ansible_collections.ik_llama.pi.plugins.module_utils.common.disk import files_used_up, free_bytes
from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_json, read_text


def test_free_space_is_that_of_the_nearest_existing_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def statvfs(path: Path) -> os.statvfs_result:
        asked.append(Path(path))
        return os.statvfs_result((4096, 512, 100, 60, 50, 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert free_bytes(tmp_path / "a/b/c") == 50 * 512
    assert free_bytes(str(tmp_path)) == 50 * 512
    assert free_bytes("/nowhere/at/all") == 50 * 512
    assert asked == [tmp_path, tmp_path, Path("/")]


@pytest.mark.parametrize(
    ("files", "left", "used_up"), [(1000, 5, True), (1000, 0, True), (100_000, 90_000, False), (0, 0, False)]
)
def test_where_no_file_can_be_created_there_is_no_room(
    files: int, left: int, used_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """btrfs counts no files: 0 of 0."""
    status = os.statvfs_result((4096, 512, 100, 60, 50, files, left, left, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: status)
    assert files_used_up(status) == used_up
    assert free_bytes("/") == (0 if used_up else 50 * 512)


def test_a_service_listens_on_addresses_of_its_own_machine() -> None:
    assert [net.listen_problem(host) for host in ("127.0.0.1", "0.0.0.0", "localhost")] == ["", "", ""]
    # 192.0.2.0/24 is for documentation (RFC 5737).
    assert all(net.listen_problem(host) for host in ("192.0.2.7", "no.such.host.invalid"))


def test_text_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\xffb")
    assert read_text(tmp_path / "text") == "a�b"
    assert read_text(tmp_path / "missing") == ""
    assert read_text(tmp_path, "folder") == "folder"


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\xff"])
def test_json_that_is_damaged_or_of_another_type_is_the_default(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="latin-1")
    assert read_json(path, {"a": 1}) == {"a": 1}


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"b": [2]}', encoding="utf-8")
    assert read_json(path, {}) == {"b": [2]}
    assert read_json(tmp_path / "missing.json", []) == []


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 1000)
    assert sha256_file(path) == hashlib.sha256(b"abc" * 1000).hexdigest()
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    assert len(content_id({}, digits=20)) == 20


def planted(folder: Path, text: str) -> str:
    """Return a PATH with a systemctl that is this script."""
    program = folder / "systemctl"
    program.write_text("#!/bin/sh\n" + text, encoding="utf-8")
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_properties_of_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'printf "%s\\n" "$*" >"$0.asked"; printf "MainPID=12\\nEnvironment=A=b C=d\\n"\n'
    monkeypatch.setenv("PATH", planted(tmp_path, script))
    assert systemd.show("x.service", "MainPID", "Environment") == {"MainPID": "12", "Environment": "A=b C=d"}
    assert (tmp_path / "systemctl.asked").read_text(encoding="utf-8").split() == [
        "show",
        "--property=MainPID,Environment",
        "x.service",
    ]


def test_no_properties_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert systemd.show("x.service", "MainPID") == {}


@pytest.mark.parametrize(
    ("host", "loopback", "wildcard", "local"),
    [
        ("127.0.0.1", True, False, "127.0.0.1"),
        ("127.8.0.1", True, False, "127.8.0.1"),
        ("::1", True, False, "::1"),
        ("localhost", True, False, "localhost"),
        ("0.0.0.0", False, True, "127.0.0.1"),
        ("::", False, True, "::1"),
        ("192.168.1.20", False, False, "192.168.1.20"),
        ("fe80::1%eth0", False, False, "fe80::1%eth0"),
        ("pi-01.local", False, False, "pi-01.local"),
    ],
)
def test_addresses(host: str, loopback: bool, wildcard: bool, local: str) -> None:
    assert (net.is_loopback(host), net.is_wildcard(host), net.local_address(host)) == (loopback, wildcard, local)


def test_networks() -> None:
    assert net.is_network("192.168.1.0/24") and net.is_network("10.0.0.1") and net.is_network("fd00::/8")
    assert not net.is_network("pi-01") and not net.is_network("192.168.1.0/33")


def test_loopback_needs_neither_key_nor_encryption() -> None:
    assert net.exposure_problems("gateway", "127.0.0.1", "api_keys", False, False) == []


def test_exposed_service_needs_both() -> None:
    assert net.exposure_problems("gateway", "0.0.0.0", "api_keys", True, True) == []
    (key,) = net.exposure_problems("gateway", "0.0.0.0", "api_keys", False, True)
    assert "gateway_api_keys" in key and "gateway_host = 0.0.0.0" in key
    (tls,) = net.exposure_problems("gateway", "10.0.0.9", "api_keys", True, False)
    assert all(name in tls for name in ("gateway_tls_certificate", "gateway_tls_key", "gateway_allow_plain_http"))
    assert len(net.exposure_problems("gateway", "pi-01", "api_keys", False, False)) == 2


def test_ports() -> None:
    assert net.port_problems("gateway", {"port": 1, "metrics_port": 65535}) == []
    (low, high) = net.port_problems("gateway", {"port": 0, "metrics_port": 65536})
    assert "gateway_port = 0" in low and "gateway_metrics_port = 65536" in high


def test_certificate_and_key_come_together() -> None:
    certificate, key = "-----BEGIN CERTIFICATE-----\n", "-----BEGIN EC PRIVATE KEY-----\n"
    assert net.tls_problems("gateway", "", "") == net.tls_problems("gateway", certificate, key) == []
    for pair in ((certificate, ""), ("", key), ("/etc/x.crt", "/etc/x.key"), (key, certificate)):
        (problem,) = net.tls_problems("gateway", *pair)
        assert "gateway_tls_certificate" in problem and "gateway_tls_key" in problem
