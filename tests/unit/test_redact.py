"""Nothing secret leaves this machine in a bundle: planted secrets, addresses and names."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.action.support_bundle import redacted, versions, write
from ansible_collections.ik_llama.pi.plugins.plugin_utils.redact import Redactor, names_of, secrets_of

API_KEY = "0f3c9a77-planted-api-key"
BCRYPT = "$2b$10$" + "abcdefghij" * 5 + "abc"
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAAB3planted\nplanted2==\n-----END OPENSSH PRIVATE KEY-----"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIplanted\n-----END CERTIFICATE-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("'Authorization': 'Basic dXNlcjpwYXNzd29yZA=='", "dXNlcjpwYXNzd29yZA=="),
        ("authorization: plantedvalue", "plantedvalue"),
        ("llama-server --api-key plantedkey1 --port 8080", "plantedkey1"),
        ('{"api_keys": ["plantedkey1"]}', "plantedkey1"),
        ("HF_TOKEN=plantedtoken", "plantedtoken"),
        ("password: hunter22", "hunter22"),
        ("ansible_become_password=hunter22", "hunter22"),
        ("https://huggingface.co/x?token=plantedtoken&a=1", "plantedtoken"),
        ("https://cdn.example/x?X-Amz-Signature=0123456789abcdef", "0123456789abcdef"),
        ("cloned https://me:hunter22@github.com/x/y.git", "hunter22"),
        ("using hf_abcdefghijKLMNOP", "hf_abcdefghijKLMNOP"),
        ("github_pat_11ABCDEFG0abcdefghij", "github_pat_11ABCDEFG0abcdefghij"),
        (f"prometheus: {BCRYPT}", BCRYPT),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIplanted me@pc", "AAAAC3NzaC1lZDI1NTE5AAAAIplanted"),
        ("write to somebody.else@example.org", "somebody.else@example.org"),
        ("/home/somebody/models/x.gguf", "somebody"),
        ("/Users/somebody/models", "somebody"),
        (PRIVATE, "AAAAB3planted"),
        (PRIVATE.partition("-----END")[0], "planted2=="),
        (CERTIFICATE, "MIIplanted"),
        ("from 192.168.178.21 port 51000", "192.168.178.21"),
        ("http://10.0.0.7:8080/health", "10.0.0.7"),
        ("fd00:aa::17 and more", "fd00:aa::17"),
        ("[2001:db8::5]:8080", "2001:db8::5"),
        ("fe80::ba27:ebff:fe12:3456%eth0", "fe80::ba27:ebff:fe12:3456"),
        ("::ffff:192.168.1.5", "192.168.1.5"),
        ("link/ether dc:a6:32:01:02:03 brd", "dc:a6:32:01:02:03"),
        ("reached nas.fritz.box", "nas.fritz.box"),
        ("http://mirror.example.com/x", "mirror.example.com"),
        ("http://nas/x", "nas"),
    ],
)
def test_what_no_variable_names_is_found_by_its_form(text: str, secret: str) -> None:
    assert secret not in Redactor().text(text)


@pytest.mark.parametrize(
    "text",
    [
        "listening on 127.0.0.1:8080 and [::1]:8080 and 0.0.0.0:22",
        "2026-11-25T22:34:16+0000 systemd[1]: Started llama-server.service.",
        "n_tokens = 1234, prompt eval 22:31:05",
        "https://github.com/ikawrakow/ik_llama.cpp.git",
        "https://huggingface.co/unsloth/model/resolve/main/x.gguf",
        "http://localhost:8080/v1",
        "llama_server_api_keys\nllama_server_host\n",
        "--api-key-file /etc/llama/api-keys",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/var/lib/llama/models/x -> y.gguf, 6.12.25-v8+, 1.24.0",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_equal_values_have_equal_placeholders() -> None:
    redactor = Redactor(["pi-01", "pi-02"], [API_KEY], ["10.0.0.2"])
    assert redactor.text("pi-02 pi-01.local 10.0.0.2 pi-020 my-pi-01 pi-02") == (
        "<host-2> <host-1>.local <address-1> pi-020 my-pi-01 <host-2>"
    )
    assert redactor.text("10.0.0.3 10.0.0.2") == "<address-2> <address-1>"
    assert redactor.text(f"x{API_KEY}y") == "x<secret>y"


def test_short_words_and_everybodys_names_are_no_secrets() -> None:
    redactor = Redactor(["localhost"], ["abc", "true", ""], ["127.0.0.1", "0.0.0.0"])
    text = "abc true localhost 127.0.0.1 0.0.0.0"
    assert redactor.text(text) == text


def test_variables_that_hold_secrets_and_addresses() -> None:
    variables = {
        "llama_server_api_keys": [API_KEY],
        "gateway_tls_key": PRIVATE,
        "pi_metrics_users": {"prometheus": BCRYPT},
        "vault_anything": {"a": ["deep"]},
        "ansible_become_pass": "hunter22",
        "hf_token": "planted",
        "llama_server_port": 8080,
        "llama_server_recipe": "rpi5",
        "ansible_host": "10.0.0.9",
        "gguf_source_url": "https://huggingface.co/x",
    }
    assert secrets_of(variables) == {API_KEY, PRIVATE, BCRYPT, "deep", "hunter22", "planted"}
    assert names_of(variables) == {"10.0.0.9"}


HOSTS: dict[str, dict[str, Any]] = {
    "kitchen": {
        "ansible_host": "192.168.178.31",
        "llama_server_api_keys": [API_KEY, "second-planted-key"],
        "gateway_tls_key": PRIVATE,
        "my_note": "private note",
        "some_role__internal": "x",
        "support_reports": {
            "results": [
                {"item": {"key": "journal"}, "stdout": f"kitchen sshd: from 192.168.178.5, key {API_KEY}"},
                {"item": {"key": "free"}, "msg": "No such file"},
                {"item": {"key": "nothing"}, "stdout": "", "stderr": ""},
            ]
        },
        "ansible_facts": {"pi_base_board": {"model": "Raspberry Pi 5", "disk_path": "/var/lib"}},
        "llama_server_plan": {"url": "http://192.168.178.31:8080", "id": "0123456789ab"},
        "support_failures": {"gguf_distribute": "kitchen: cannot reach attic.local"},
    },
    "attic": {"support_reached": {"unreachable": True}, "ansible_host": "attic.local"},
}


def test_no_planted_secret_and_no_name_is_in_the_bundle() -> None:
    bundle = redacted(HOSTS, versions())
    everything = "\n".join([*bundle, *bundle.values()])
    for planted in (API_KEY, "second-planted-key", "AAAAB3planted", "kitchen", "attic", "192.168.178", "private note"):
        assert planted not in everything
    assert set(bundle) == {
        "versions.json",
        "host-1/journal.txt",
        "host-1/free.txt",
        "host-1/board.json",
        "host-1/plans.json",
        "host-1/failures.json",
        "host-1/variables.txt",
        "host-2/variables.txt",
    }
    assert "0123456789ab" in bundle["host-1/plans.json"]
    assert "my_note" in bundle["host-1/variables.txt"]
    assert "__" not in bundle["host-1/variables.txt"]


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "support-1.tar.gz"
    write(path, {"host-1/free.txt": "text", "versions.json": "{}"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["support-1/host-1/free.txt", "support-1/versions.json"]
