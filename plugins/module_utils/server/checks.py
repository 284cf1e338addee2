"""What speaks against a server's options, as sentences. All functions are pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import (
    exposure_problems,
    is_loopback,
    is_network,
    port_problems,
)
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import fit
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES
from ansible_collections.ik_llama.pi.plugins.module_utils.server.arguments import own_variable


def key_problems(api_keys: list[str]) -> list[str]:
    """Return sentences about API keys that cannot work, or can be guessed; they never contain a key."""
    problems = []
    for number, key in enumerate(api_keys, start=1):
        if len(key) < 8:
            problems.append(
                f"API key {number} of llama_server_api_keys has only {len(key)} characters. Use 8 or more"
                " ('openssl rand -hex 32' makes a good one)"
            )
        elif not re.fullmatch(r"[!-~]+", key):
            problems.append(
                f"API key {number} of llama_server_api_keys contains a space or a character that HTTP cannot carry."
                " Use plain ASCII without spaces"
            )
    return problems


def network_problems(host: str, allow_from: list[str]) -> list[str]:
    """Return sentences about networks that systemd (IPAddressAllow=) would not understand."""
    problems = [
        f"not an address or network (llama_server_allow_from contains {network}). Write it like 192.168.1.0/24"
        for network in allow_from
        if not is_network(network) and network not in ("localhost", "link-local", "multicast", "any")
    ]
    if allow_from and not is_loopback(host) and not is_network(host):
        problems.append(
            f"llama_server_allow_from needs the address that the board listens on, not a name"
            f" (llama_server_host = {host}). Set llama_server_host to the address, or to 0.0.0.0"
        )
    return problems


def server_problems(
    options: dict[str, Any],
    api_keys: list[str],
    board: dict[str, Any],
    reserve_mib: int,
    forecast: dict[str, Any],
    port_owner: str = "",
    others_mib: int = 0,
) -> list[str]:
    """Return a sentence for each reason why a server must not be started with these options; empty if none.

    Args:
        options: as for `server_arguments`, allow_from (networks) and allow_plain_http.
        api_keys: the API keys.
        board: what module `board_facts` returned.
        reserve_mib: memory left to the rest of the board.
        forecast: the model's forecast or manifest (`tensor_bytes`, `hparams`); empty where it is not known yet.
        port_owner: another program that listens on the port, as module `llama_deployment_info` returns it.
        others_mib: memory that other programs use now; 0 where nothing is to be started.
    """
    problems = key_problems(api_keys)
    plain = options.get("allow_plain_http", True)
    problems += exposure_problems("llama_server", options["host"], "api_keys", bool(api_keys), plain, tls=False)
    problems += network_problems(options["host"], options.get("allow_from", []))
    problems += port_problems("llama_server", {"port": options["port"]})
    problems += [
        f"must be 1 or more (llama_server_{name} = {options[name]})"
        for name in ("threads", "threads_batch", "context", "parallel", "batch", "ubatch")
        if options[name] < 1
    ]
    problems += [
        f"not a type that the KV cache can have (llama_server_{name} = {options[name]}). Use one like f16 or q8_0"
        for name in ("cache_type_k", "cache_type_v")
        if options[name] not in TYPES
    ]
    alias = str(options["alias"])
    if not alias.isprintable() or not alias or alias != alias.strip():
        problems.append(
            f"the model's name in the API must be one line, without blanks around it (llama_server_alias = {alias!r})"
        )
    problems += [
        f"llama_server_extra contains {str(word).partition('=')[0]}. Set {own_variable(str(word))} instead"
        for word in options["extra"]
        if own_variable(str(word))
    ]
    if port_owner:
        problems.append(
            f"the port is in use by {port_owner} (llama_server_port = {options['port']})."
            " Stop that program, or choose another port"
        )
    if forecast and not problems:
        found = fit(forecast, options, board["memory_mib"], reserve_mib, others_mib)
        if not found["fits"]:
            problems.append(found["sentence"])
    return problems
