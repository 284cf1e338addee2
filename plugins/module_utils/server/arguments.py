"""llama-server's command line, made from what a user sets.

Flags are those of `common/common.cpp` (gpt_params_find_arg, gpt_params_print_usage) of ik_llama.cpp.
All functions are pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import local_address

Arguments = list[list[str]]

#: File on the board with the API keys.
API_KEY_FILE = "/etc/llama-server/api-keys"

#: Flags that a variable of the role sets; in llama_server_extra they would go around its checks.
OWN_FLAGS = {
    "--host": "llama_server_host",
    "--port": "llama_server_port",
    "-m": "llama_server_model",
    "--model": "llama_server_model",
    "-mu": "llama_server_model",
    "--model-url": "llama_server_model",
    "-hfr": "llama_server_model",
    "--hf-repo": "llama_server_model",
    "-hff": "llama_server_model",
    "--hf-file": "llama_server_model",
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


def own_variable(word: str) -> str:
    """Return the variable that sets what a word of llama_server_extra would set, empty if none does.

    The engine reads `_` in a long flag as `-` (gpt_params_parse_ex); other programs write `--flag=value`.
    """
    flag = word.partition("=")[0]
    return OWN_FLAGS.get(flag.replace("_", "-") if flag.startswith("--") else flag, "")


def server_options(variable: Callable[[str], Any]) -> dict[str, Any]:
    """Return what the role's variables mean for the server, as `server_arguments` and `server_problems` take it.

    Args:
        variable: returns the value of a variable of the role by its name. Numbers and switches may be words, as the
            command line gives them. ValueError for a word that is neither.
    """
    options: dict[str, Any] = {}
    for name in ("host", "cache_type_k", "cache_type_v", "alias"):
        options[name] = str(variable(f"llama_server_{name}"))
    for name in (
        "port",
        "threads",
        "threads_batch",
        "context",
        "parallel",
        "batch",
        "ubatch",
        "cache_ram_mib",
        "ctx_checkpoints",
    ):
        options[name] = int(variable(f"llama_server_{name}"))
    for name in ("mlock", "jinja", "metrics", "allow_plain_http"):
        options[name] = str(variable(f"llama_server_{name}")).lower() in ("true", "yes", "on", "1", "y", "t")
    options["extra"] = list(variable("llama_server_extra"))
    allowed = variable("llama_server_allow_from")
    options["allow_from"] = [allowed] if isinstance(allowed, str) else list(allowed)
    options["api_key_file"] = API_KEY_FILE if variable("llama_server_api_keys") else ""
    return options


def server_arguments(options: dict[str, Any]) -> Arguments:
    """Return llama-server's arguments, one list for each flag with its values; the model is not among them.

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
    """Return what llama-server says against its arguments when it gets them and `--help`; None if nothing.

    It reads all arguments before it prints the help, and the complaint comes before the word "usage"
    (gpt_params_parse in common/common.cpp). The help itself does not name every flag (`--alias`).

    Raises:
        ValueError: if there is no help: this is not llama-server, or it does not run on this machine.
    """
    before, usage, _help = output.partition("usage:")
    if not usage:
        raise ValueError(output.strip()[-400:] or "no output")
    return " ".join(before.split()) or None


def served_at(arguments: Arguments) -> dict[str, str]:
    """Return how a server with these arguments is reached.

    `url` is the one for its own board, `address` what it listens on, `port` its port, `alias` the name of its model in
    the API or '', and `api_key_file` a path or ''.
    """
    values = {flag[0]: flag[1] for flag in arguments if len(flag) > 1}
    address = values.get("--host", "127.0.0.1")
    port = values.get("--port", "8080")
    host = local_address(address)
    host = f"[{host}]" if ":" in host else host
    return {
        "url": f"http://{host}:{port}",
        "address": address,
        "port": port,
        "alias": values.get("--alias", ""),
        "api_key_file": values.get("--api-key-file", ""),
    }
