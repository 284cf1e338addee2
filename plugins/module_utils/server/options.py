"""llama-server's command line, from what a user sets, and what speaks against it.

Flags are those of `common/common.cpp` (gpt_params_find_arg, gpt_params_print_usage) of ik_llama.cpp.
All functions are pure.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import shlex
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import fit
from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.header import TYPES

Arguments = list[list[str]]

# What a health check leaves in the log, and the unit's LogFilterPatterns where systemd knows that.
_NOISE = re.compile(r"slot data|all slots are idle|/health")

#: Flags that a variable of the role sets; in llama_server_extra they would go around its checks.
OWN_FLAGS = {
    "--host": "llama_server_host",
    "--port": "llama_server_port",
    "-m": "llama_server_model",
    "--model": "llama_server_model",
    "--api-key": "llama_server_api_keys, which keeps keys out of the process list",
    "--api-key-file": "llama_server_api_keys",
    "-t": "llama_server_threads",
    "--threads": "llama_server_threads",
    "-tb": "llama_server_threads_batch",
    "--threads-batch": "llama_server_threads_batch",
    "-c": "llama_server_context",
    "--ctx-size": "llama_server_context",
    "-np": "llama_server_parallel",
    "--parallel": "llama_server_parallel",
    "-ctk": "llama_server_cache_type_k",
    "--cache-type-k": "llama_server_cache_type_k",
    "-ctv": "llama_server_cache_type_v",
    "--cache-type-v": "llama_server_cache_type_v",
    "-b": "llama_server_batch",
    "--batch-size": "llama_server_batch",
    "-ub": "llama_server_ubatch",
    "--ubatch-size": "llama_server_ubatch",
    "-cram": "llama_server_cache_ram_mib",
    "--cache-ram": "llama_server_cache_ram_mib",
    "--ctx-checkpoints": "llama_server_ctx_checkpoints",
    "-a": "llama_server_alias",
    "--alias": "llama_server_alias",
    "--mlock": "llama_server_mlock",
    "--jinja": "llama_server_jinja",
    "--metrics": "llama_server_metrics",
}


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
            cache_type_k, cache_type_v, batch, ubatch, mlock, cache_ram_mib, ctx_checkpoints, jinja, metrics,
            alias, api_key_file (path, or empty), extra (list of words). Others are not arguments of the server.
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
        ["--batch-size", options["batch"]],
        ["--ubatch-size", options["ubatch"]],
        ["--cache-ram", options["cache_ram_mib"]],
        ["--ctx-checkpoints", options["ctx_checkpoints"]],
        ["--alias", options["alias"]],
    ]
    if options["mlock"]:
        arguments.append(["--mlock"])
    if options["jinja"]:
        arguments.append(["--jinja"])
    if options["metrics"]:
        arguments.append(["--metrics"])
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


def run_script(binary: str, model: str, arguments: Arguments, key: str, watch: list[str] | None = None) -> str:
    """The shell script that a deployment is started by; it becomes the server (exec).

    Args:
        watch: command that watches the server from beside it, none if empty.
    """
    head = [
        "#!/bin/sh",
        f"# Deployment {key}, as the service starts it. Written by Ansible; a change here is lost.",
        *([shlex.join(watch) + " &"] if watch else []),
    ]
    lines = [
        "exec " + shlex.quote(binary),
        shlex.join(["--model", model]),
        *(shlex.join(flag) for flag in arguments),
    ]
    return "\n".join(head) + "\n" + " \\\n    ".join(lines) + "\n"


def watchdog_sha256(program: str, arguments: list[Any]) -> str:
    """The sha256 by which a deployment knows its watchdog: the program's text, and the arguments that it is given."""
    return hashlib.sha256(json.dumps([program, [str(word) for word in arguments]]).encode()).hexdigest()


def served_at(arguments: Arguments) -> dict[str, str]:
    """Return how a server with these arguments is asked.

    `url` is the one for its own board, `address` what it listens on, `alias` the name of its model in the API or '',
    and `api_key_file` a path or ''.
    """
    values = {flag[0]: flag[1] for flag in arguments if len(flag) > 1}
    host = values.get("--host", "127.0.0.1")
    address = host
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    host = f"[{host}]" if ":" in host else host
    return {
        "url": f"http://{host}:{values.get('--port', '8080')}",
        "address": address,
        "alias": values.get("--alias", ""),
        "api_key_file": values.get("--api-key-file", ""),
    }


def telling_lines(journal: str, count: int) -> list[str]:
    """Return the last lines of a server's log, at most count, without those of health checks and idle slots."""
    return [line.rstrip() for line in journal.splitlines() if line.strip() and not _NOISE.search(line)][-count:]


def listeners(table: str, port: int) -> set[str]:
    """What listens on a TCP port: `socket:[inode]`, as links in /proc/PID/fd name it.

    Args:
        table: text of /proc/net/tcp and tcp6 (proc(5)): local address in hex, state 0A is LISTEN, inode in field 10.
    """
    rows = (line.split() for line in table.splitlines())
    return {
        f"socket:[{row[9]}]"
        for row in rows
        if len(row) > 9 and row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port
    }


def started_at(stat: str, ticks: int, since_boot: float, now: float) -> float:
    """When a process was started (epoch, seconds).

    Its folder in /proc tells when somebody first looked at it, and not that. Counted from the boot, it is right also
    where the clock was set since (a Pi has no battery for one).

    Args:
        stat: text of /proc/PID/stat (proc(5)); field 22 is the start, in ticks after the boot.
        ticks: of a second (sysconf SC_CLK_TCK).
        since_boot: seconds since the boot, now (CLOCK_BOOTTIME).
        now: the time (epoch).

    Raises:
        ValueError: if that is no such text.
    """
    fields = stat.rpartition(")")[2].split()  # the name before it may have blanks; field 3 is the first after it
    if len(fields) < 20:
        raise ValueError("no text of /proc/PID/stat")
    return now - since_boot + int(fields[19]) / ticks


#: An answer that ends by itself has at least so many tokens, of which the last says that it ends.
FEWEST_TOKENS = 3


def answer_fault(answer: str, expect: str, tokens: int, cut_off: bool) -> str:
    """Return one word for what is wrong with a model's answer: unexpected, blank, repeated or short; empty if nothing.

    Args:
        answer: what it thought and said.
        expect: regular expression that must be found in it. Empty asks only whether it could be language: a model whose
            numbers are wrong repeats one character for ever, or ends at once.
        tokens: how many it made, 0 where that is not known.
        cut_off: whether it ended because no more were asked for.
    """
    if expect:
        return "" if re.search(expect, answer) else "unexpected"
    different = set("".join(answer.split()))
    if not different:
        return "blank"
    if len(different) == 1:
        return "repeated"
    return "short" if 0 < tokens < FEWEST_TOKENS and not cut_off else ""


def answer_problem(answer: str, expect: str, tokens: int, cut_off: bool) -> str:
    """Return the same as the end of a sentence; empty if nothing is wrong."""
    fault = answer_fault(answer, expect, tokens, cut_off)
    return {
        "": "",
        "unexpected": f"is not what was expected ({expect})",
        "blank": "is blank",
        "repeated": "is one character again and again, and no language",
        "short": f"ended after {tokens} tokens, which is no sentence",
    }[fault]


def key_problems(api_keys: list[str]) -> list[str]:
    """Sentences about API keys that could not work, or could be guessed; they never show a key."""
    problems = []
    for number, key in enumerate(api_keys, start=1):
        if len(key) < 8:
            problems.append(
                f"key {number} of llama_server_api_keys has {len(key)} characters: use at least 8"
                " ('openssl rand -hex 32' makes a good one)"
            )
        elif not re.fullmatch(r"[!-~]+", key):
            problems.append(f"key {number} of llama_server_api_keys has a blank or a character that HTTP cannot carry")
    return problems


def is_network(text: str) -> bool:
    """Whether this is an address, or a network like 192.168.1.0/24."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def network_problems(host: str, allow_from: list[str]) -> list[str]:
    """Sentences about networks of llama_server_allow_from that systemd (IPAddressAllow=) would not understand."""
    problems = [
        f"llama_server_allow_from has {network}, which is no address and no network like 192.168.1.0/24"
        for network in allow_from
        if not is_network(network) and network not in ("localhost", "link-local", "multicast", "any")
    ]
    if allow_from and not is_loopback(host) and not is_network(host):
        problems.append(
            f"llama_server_host is {host}, a name, and with llama_server_allow_from the board's own address must be let"
            " in too: set llama_server_host to the address, or to 0.0.0.0"
        )
    return problems


def server_problems(
    options: dict[str, Any],
    api_keys: list[str],
    board: dict[str, Any],
    reserve_mib: int,
    plan: dict[str, Any],
    port_owner: str = "",
) -> list[str]:
    """Sentences, one for each reason why this server must not be started with these options; empty if none.

    Args:
        options: as for `server_arguments`, and allow_from (networks).
        api_keys: the API keys.
        board: what module `board_facts` returned.
        reserve_mib: memory left to the rest of the board.
        plan: the model's plan or manifest (`tensor_bytes`, `hparams`); empty where the model is not known yet.
        port_owner: another program that listens on the port, as module `llama_deployment` tells it.
    """
    problems = key_problems(api_keys)
    if not is_loopback(options["host"]) and not api_keys:
        problems.append(
            f"llama_server_host is {options['host']}, which others can reach, and llama_server_api_keys is empty:"
            " set a key (in a vault), or listen on 127.0.0.1"
        )
    problems += network_problems(options["host"], options.get("allow_from", []))
    if not 0 < options["port"] < 65536:
        problems.append(f"llama_server_port is {options['port']}: a port is a number from 1 to 65535")
    problems += [
        f"llama_server_{name} is {options[name]}: it must be 1 or more"
        for name in ("threads", "threads_batch", "context", "parallel", "batch", "ubatch")
        if options[name] < 1
    ]
    problems += [
        f"llama_server_{name} is {options[name]}, which is not a type that the KV cache can have, like f16 or q8_0"
        for name in ("cache_type_k", "cache_type_v")
        if options[name] not in TYPES
    ]
    words = (str(word).partition("=")[0] for word in options["extra"])
    problems += [f"llama_server_extra has {word}: set {OWN_FLAGS[word]} instead" for word in words if word in OWN_FLAGS]
    if port_owner:
        problems.append(
            f"port {options['port']} (llama_server_port) is taken by {port_owner}: stop that, or choose another port"
        )
    if plan and not problems:
        found = fit(plan, options, board["memory_mib"], reserve_mib)
        if not found["fits"]:
            problems.append(found["sentence"])
    return problems
