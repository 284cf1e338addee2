"""One address for several boards: what the gateway consists of, and what is wrong with its variables.

A board is a dict: name, address (at which the gateway reaches it), host (that its server listens on), port, parallel
(slots), api_keys, asked (whether this run knows it), serves (whether all this is of the server in service, and not what
is to be). All functions but `gateway_boards` are pure.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id, sha256_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import (
    exposure_problems,
    is_loopback,
    port_problems,
    tls_problems,
)
from ansible_collections.ik_llama.pi.plugins.plugin_utils.roles import default

Boards = list[dict[str, Any]]


def gateway_boards(
    names: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]], asked_by: str = "llama_server_serving"
) -> Boards:
    """Return the boards as the role gateway takes them: what serves there, or else what is to serve.

    What is to serve comes from the public variables of the boards, or the defaults of llama_server.

    Args:
        asked_by: the fact that only those boards have that were asked in this run.
    """

    def board(name: str) -> dict[str, Any]:
        variables = hostvars[name]

        def of_server(variable: str) -> Any:
            value = variables.get(f"llama_server_{variable}")
            return default(f"llama_server_{variable}", "llama_server") if value is None else value

        wanted = {"host": of_server("host"), "port": int(of_server("port")), "parallel": int(of_server("parallel"))}
        serves = variables.get("llama_server_serving") or {}
        # Keys that are to stay come first: the gateway leaves a former one as soon as it can.
        present = serves.get("api_keys", of_server("api_keys"))
        lasting = [key for key in of_server("api_keys") if key in present]
        return {
            "name": name,
            "address": variables.get("gateway_board_address") or variables.get("ansible_host") or name,
            **wanted,
            **serves,
            "api_keys": lasting + [key for key in present if key not in lasting],
            "asked": "llama_server_serving" in variables or asked_by in variables,
            "serves": bool(serves),
        }

    return [board(name) for name in names]


def kept_boards(boards: Boards, configuration: str, key_map: str) -> Boards:
    """Return the boards, with those that were not asked as the gateway has them now.

    Args:
        configuration: text of the gateway's present haproxy.cfg, empty if there is none.
        key_map: text of its file `board`, as `secret_files` makes it; empty if there is none.
    """
    lines = re.findall(
        r"^ *server (\S+) (\S+):(\d+) maxconn (\d+)$", configuration.partition("\nbackend boards\n")[2], re.M
    )
    present = {name: (address.strip("[]"), int(port), int(slots)) for name, address, port, slots in reversed(lines)}
    kept = []
    for board in boards:
        if board.get("asked", True) or board["name"] not in present:
            kept.append(board)
            continue
        address, port, slots = present[board["name"]]
        keys = key_map.split()[1:]
        kept.append({**board, "address": address, "host": address, "port": port, "parallel": slots, "api_keys": keys})
    return kept


def shared_key(boards: Boards) -> str:
    """Return the first API key that all boards have that ask for one; empty if there is none, or none asks."""
    asking = [board["api_keys"] for board in boards if board["api_keys"]]
    if not asking:
        return ""
    return next((key for key in asking[0] if all(key in keys for keys in asking)), "")


def key_digest(boards: Boards) -> str:
    """Return the sha256 of the boards' key that the gateway uses, empty if it needs none."""
    key = shared_key(boards)
    return sha256_text(key) if key else ""


def secret_files(settings: dict[str, Any], boards: Boards) -> dict[str, str]:
    """Return the files next to the configuration that nobody else may read, {name: text}.

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


def gateway_inputs(boards: Boards, settings: dict[str, Any], own_name: str, sources: list[str]) -> dict[str, Any]:
    """Return what the gateway's configuration is made from. Nothing in it is secret.

    Args:
        settings: all variables of the role without their prefix.
        own_name: the gateway's name in the inventory; it may be a board too, and reaches itself on loopback.
        sources: texts of the templates.

    Returns:
        servers (name, at (where it is reached), slots of each board), names (addresses that must be looked up),
        secrets (digest of the secret files, empty without any), files (their names), settings, sources (their digest).
    """
    servers, names = [], []
    for board in boards:
        own = board["name"] == own_name and is_loopback(board["host"])
        address = board["host"] if own else board["address"]
        at = f"[{address}]:{board['port']}" if ":" in address else f"{address}:{board['port']}"
        servers.append({"name": board["name"], "at": at, "slots": board["parallel"]})
        if not _is_address(address):
            names.append(address)
    files = secret_files(settings, boards)
    return {
        "servers": servers,
        "names": names,
        # Tens of digits of keys go into it, so that none can be guessed from it.
        "secrets": content_id(files) if files else "",
        "files": sorted(files),
        "settings": {name: value for name, value in settings.items() if name not in ("api_keys", "tls_key")},
        "sources": content_id({"texts": sources}),
    }


def gateway_id(inputs: dict[str, Any]) -> str:
    """Return the ID of the configuration that is made from these inputs."""
    return content_id({name: inputs[name] for name in ("servers", "secrets", "settings", "sources")})


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def gateway_problems(boards: Boards, settings: dict[str, Any], own_name: str) -> list[str]:
    """Return a sentence for each reason against such a gateway; empty if there is none. No key is in them.

    Args:
        own_name: the gateway's name in the inventory; it may be a board too.
    """
    problems = []
    if not boards:
        problems.append("there are no boards (gateway_boards is empty). Add hosts to the group 'pis'")
    problems += exposure_problems(
        "gateway",
        settings["host"],
        "api_keys",
        bool(settings["api_keys"]),
        bool(settings["tls_certificate"] or settings["allow_plain_http"]),
    )
    if any(not re.fullmatch(r"[!-~]{16,}", key) for key in settings["api_keys"]):
        problems.append(
            "a key of gateway_api_keys is shorter than 16 characters, or contains spaces or non-ASCII characters."
            " Replace it ('openssl rand -hex 32' makes a good one)"
        )
    problems += tls_problems("gateway", settings["tls_certificate"], settings["tls_key"])
    ports = {name: settings[name] for name in ("port", "metrics_port")}
    problems += port_problems("gateway", ports)
    if settings["port"] == settings["metrics_port"]:
        problems.append(
            f"two services cannot listen on one port (gateway_port = gateway_metrics_port = {settings['port']})."
            " Choose another"
        )
    for board in boards:
        if board["name"] == own_name:
            problems += [
                f"llama-server of this host listens on the same port (gateway_{name} = llama_server_port = {port})."
                " Choose another"
                for name, port in ports.items()
                if port == board["port"]
            ]
        elif is_loopback(board["host"]):
            problems.append(
                f"it cannot reach {board['name']}, which listens on loopback (llama_server_host = {board['host']})."
                f" Set llama_server_host: 0.0.0.0 and llama_server_api_keys for {board['name']}, and run"
                " ik_llama.pi.serve"
            )
    # A key that is still to be introduced is valid beside the present one, which boards that were not asked have.
    wished = [board for board in boards if board.get("asked", True) and not board.get("serves", False)]
    compared = wished or boards
    if any(board["api_keys"] for board in compared) and not shared_key(compared):
        names = ", ".join(board["name"] for board in compared if board["api_keys"])
        problems.append(
            f"{names} have no API key in common, and the gateway uses one for all of them (llama_server_api_keys)."
            " Add one to each board; where some were left out of this run, run for all of them"
        )
    return problems
