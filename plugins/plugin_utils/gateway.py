"""One address for several boards: what the gateway is made of, and what speaks against it.

All functions are pure. A board is a dict: name, address (as the gateway reaches it), host (that its server listens
on), port, parallel (slots), api_keys.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_key
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import is_loopback

Boards = list[dict[str, Any]]


def reached(boards: Boards, own_name: str) -> Boards:
    """The boards; that of the gateway's own host, `own_name`, on loopback if its server listens there."""
    return [
        {**board, "address": board["host"]} if board["name"] == own_name and is_loopback(board["host"]) else board
        for board in boards
    ]


def shared_key(boards: Boards) -> str:
    """The first API key that all boards have that ask for one; empty if there is none, or none asks."""
    asking = [board["api_keys"] for board in boards if board["api_keys"]]
    if not asking:
        return ""
    return next((key for key in asking[0] if all(key in keys for keys in asking)), "")


def secret_files(settings: dict[str, Any], boards: Boards) -> dict[str, str]:
    """{name: text} of the files beside the configuration that nobody else may read.

    `keys` has the SHA-256 of each client's key in upper case, as HAProxy's converters `sha2` and `hex` give it;
    `board` is a map of one line with the boards' own key; `tls.pem` is certificate and private key.

    Args:
        settings: api_keys, tls_certificate, tls_key.
    """
    files = {}
    if settings["api_keys"]:
        digests = [hashlib.sha256(key.encode()).hexdigest().upper() for key in settings["api_keys"]]
        files["keys"] = "".join(f"{digest}\n" for digest in digests)
    if shared_key(boards):
        files["board"] = f"key {shared_key(boards)}\n"
    if settings["tls_certificate"]:
        files["tls.pem"] = "".join(settings[name].strip() + "\n" for name in ("tls_certificate", "tls_key"))
    return files


def gateway_plan(boards: Boards, settings: dict[str, Any], sources: list[str]) -> dict[str, Any]:
    """What the gateway is to be. Nothing in it is secret.

    Args:
        settings: all of the role's variables without their prefix.
        sources: texts of the templates that it is made from.

    Returns:
        servers (name, at (where it is reached), slots of each board), secrets (key of the secret files, empty without
        any), files (their names), names (addresses that must be looked up), key (of all together).
    """
    servers = [
        {
            "name": board["name"],
            "at": f"[{board['address']}]:{board['port']}"
            if ":" in board["address"]
            else f"{board['address']}:{board['port']}",
            "slots": board["parallel"],
        }
        for board in boards
    ]
    files = secret_files(settings, boards)
    # Tens of digits of keys go into it, so that none can be guessed from it.
    secrets = content_key(files) if files else ""
    public = {name: value for name, value in settings.items() if name not in ("api_keys", "tls_key")}
    return {
        "servers": servers,
        "secrets": secrets,
        "files": sorted(files),
        "names": [board["address"] for board in boards if not _is_address(board["address"])],
        "key": content_key({"servers": servers, "secrets": secrets, "settings": public, "sources": sources}),
    }


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def gateway_problems(boards: Boards, settings: dict[str, Any], own_name: str) -> list[str]:
    """Sentences, one for each reason why there must be no such gateway; empty if none. No key is in them.

    Args:
        own_name: the gateway's name in the inventory; it may be a board itself.
    """
    problems = []
    if not boards:
        problems.append("gateway_boards is empty: name the boards that shall be reached through it")
    if not is_loopback(settings["host"]):
        if not settings["api_keys"]:
            problems.append(
                f"gateway_host is {settings['host']}, which others can reach, and gateway_api_keys is empty:"
                " set a key (in a vault), or listen on 127.0.0.1"
            )
        if not settings["tls_certificate"] and not settings["allow_plain_http"]:
            problems.append(
                f"gateway_host is {settings['host']}, which others can reach, and gateway_tls_certificate is empty,"
                " so keys and questions would go over the network unencrypted: set gateway_tls_certificate and"
                " gateway_tls_key, or gateway_allow_plain_http if the network is your own"
            )
    if any(not re.fullmatch(r"[!-~]{16,}", key) for key in settings["api_keys"]):
        problems.append("gateway_api_keys has a key that is shorter than 16 characters, or has blanks or umlauts in it")
    if bool(settings["tls_certificate"]) != bool(settings["tls_key"]):
        problems.append("of gateway_tls_certificate and gateway_tls_key only one is set")
    elif settings["tls_certificate"] and (
        "-----BEGIN CERTIFICATE-----" not in settings["tls_certificate"]
        or "PRIVATE KEY-----" not in settings["tls_key"]
    ):
        problems.append(
            "gateway_tls_certificate and gateway_tls_key must be the texts of a certificate and of a private key (PEM)"
        )
    problems += [
        f"gateway_{name} is {settings[name]}: a port is a number from 1 to 65535"
        for name in ("port", "metrics_port")
        if not 0 < settings[name] < 65536
    ]
    if settings["port"] == settings["metrics_port"]:
        problems.append(f"gateway_port and gateway_metrics_port are both {settings['port']}")
    for board in boards:
        if board["name"] == own_name:
            problems += [
                f"gateway_{name} is {settings[name]}, where llama-server of the same host listens (llama_server_port)"
                for name in ("port", "metrics_port")
                if settings[name] == board["port"]
            ]
        elif is_loopback(board["host"]):
            problems.append(
                f"{board['name']} listens on {board['host']} (llama_server_host), where the gateway cannot reach it:"
                " set it to 0.0.0.0 with llama_server_api_keys for that board, and run playbooks/serve.yml"
            )
    if any(board["api_keys"] for board in boards) and not shared_key(boards):
        names = ", ".join(board["name"] for board in boards if board["api_keys"])
        problems.append(
            f"{names} have no API key in common: the gateway asks all of them with the same one,"
            " so add one to each board's llama_server_api_keys"
        )
    return problems
