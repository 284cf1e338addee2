"""llama-server's command line, from what a user sets, and what speaks against it.

Flags are those of `common/common.cpp` (gpt_params_find_arg, gpt_params_print_usage) of ik_llama.cpp.
All functions are pure.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Any

from ansible.module_utils.footprint import fit

Arguments = list[list[str]]


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` is reached from its own machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def server_arguments(options: dict[str, Any]) -> Arguments:
    """llama-server's arguments, one list for each flag with its values; the model is not among them.

    Args:
        options: host, port, threads, threads_batch, context (tokens, of all slots together), parallel (slots),
            cache_type_k, cache_type_v, ubatch, mlock, cache_ram_mib, ctx_checkpoints, jinja, alias,
            api_key_file (path, or empty), extra (list of words).
    """
    arguments: Arguments = [
        ["--host", options["host"]],
        ["--port", options["port"]],
        ["--threads", options["threads"]],
        ["--threads-batch", options["threads_batch"]],
        ["--ctx-size", options["context"]],
        ["--parallel", options["parallel"]],
        ["--cache-type-k", options["cache_type_k"]],
        ["--cache-type-v", options["cache_type_v"]],
        ["--ubatch-size", options["ubatch"]],
        ["--cache-ram", options["cache_ram_mib"]],
        ["--ctx-checkpoints", options["ctx_checkpoints"]],
        ["--alias", options["alias"]],
    ]
    if options["mlock"]:
        arguments.append(["--mlock"])
    if options["jinja"]:
        arguments.append(["--jinja"])
    if options["api_key_file"]:
        arguments.append(["--api-key-file", options["api_key_file"]])
    arguments.append(["--log-disable"])
    extra: Arguments = []
    for word in options["extra"]:
        # A word that is not a flag is a value of the flag before it; a negative number is a value.
        if not extra or re.match(r"--?[A-Za-z]", str(word)):
            extra.append([word])
        else:
            extra[-1].append(word)
    return [[str(word) for word in flag] for flag in arguments + extra]


def complaint(output: str) -> str | None:
    """What llama-server says against its arguments when it is given them and `--help`; None if nothing.

    It reads all arguments before it prints the help, and the complaint stands before the word "usage"
    (gpt_params_parse in common/common.cpp). The help itself does not name every flag (`--alias`).

    Raises:
        ValueError: if there is no help: then this is no llama-server, or it does not run on this machine.
    """
    before, usage, _ = output.partition("usage:")
    if not usage:
        raise ValueError(output.strip()[-400:] or "no output")
    return " ".join(before.split()) or None


def run_script(binary: str, model: str, arguments: Arguments, key: str) -> str:
    """The shell script that a deployment is started by; it becomes the server (exec)."""
    lines = [
        "#!/bin/sh",
        f"# Deployment {key}, as the service starts it. Written by Ansible; a change here is lost.",
        "exec " + shlex.quote(binary),
        shlex.join(["--model", model]),
        *(shlex.join(flag) for flag in arguments),
    ]
    return "\n".join(lines[:2]) + "\n" + " \\\n    ".join(lines[2:]) + "\n"


def server_problems(
    options: dict[str, Any],
    api_keys: int,
    board: dict[str, Any],
    reserve_mib: int,
    plan: dict[str, Any],
) -> list[str]:
    """Sentences, one for each reason why this server must not be started with these options; empty if none.

    Args:
        options: as for `server_arguments`.
        api_keys: how many API keys are set.
        board: what module `board_facts` returned.
        reserve_mib: memory left to the rest of the board.
        plan: the model's plan or manifest (`tensor_bytes`, `hparams`); empty where the model is not known yet.
    """
    problems = []
    if not is_loopback(options["host"]) and not api_keys:
        problems.append(
            f"llama_server_host is {options['host']}, which others can reach, and llama_server_api_keys is empty:"
            " set a key (in a vault), or listen on 127.0.0.1"
        )
    if not 0 < options["port"] < 65536:
        problems.append(f"llama_server_port is {options['port']}: a port is a number from 1 to 65535")
    problems += [
        f"llama_server_{name} is {options[name]}: it must be 1 or more"
        for name in ("threads", "threads_batch", "context", "parallel", "ubatch")
        if options[name] < 1
    ]
    if plan and not problems:
        found = fit(plan, options, board["memory_mib"], reserve_mib)
        if not found["fits"]:
            problems.append(found["sentence"])
    return problems
