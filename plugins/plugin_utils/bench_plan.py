# SPDX-License-Identifier: Apache-2.0
"""What a benchmark runs on a board, and what speaks against it. All functions are pure.

Flags are those of `examples/llama-bench/llama-bench.cpp` and `common/common.cpp` (gpt_params_find_arg) of ik_llama.cpp
at 8337e4cd3. llama-bench takes threads for generation and batches as one pair (`-tgb`), llama-sweep-bench the server's
flags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.gguf.footprint import footprint

MIB = 1 << 20
#: Disk space for a result and what is written next to it, on the board.
ROOM_MIB = 64
#: Tokens of a prompt and of an answer, as the model card measures them.
PROMPT, ANSWER = 512, 50
#: The model card's settings: `-t 3 -n 50`, batch threads 4. The rest is the program's default, with one batch for the
#: prompt.
CARD_SETTINGS: dict[str, Any] = {
    "threads": 3,
    "threads_batch": 4,
    "batch": 512,
    "ubatch": 512,
    "cache_type_k": "f16",
    "cache_type_v": "f16",
    "repack": False,
    "mmap": True,
    "huge_pages": False,
}
_VALUES = {
    "--threads": "threads",
    "--threads-batch": "threads_batch",
    "--batch-size": "batch",
    "--ubatch-size": "ubatch",
}
_WORDS = {"--cache-type-k": "cache_type_k", "--cache-type-v": "cache_type_v"}
_SWITCHES: dict[str, tuple[str, bool]] = {
    "-rtr": ("repack", True),
    "--run-time-repack": ("repack", True),
    "--no-mmap": ("mmap", False),
    "-thp": ("huge_pages", True),
    "--transparent-huge-pages": ("huge_pages", True),
}
#: Tokens that the sweep generates at each length of the context.
SWEEP_ANSWER = 32
#: What the time of a run is guessed from: bytes a second that generation reads, and how much faster a prompt is. From
#: the model card: 4.53 tokens/s of 1.59 GB, and 30.85 tokens/s.
_GUESS_BYTES, _GUESS_PROMPT = 7.2e9, 6.8


def own_settings(arguments: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the settings of a server, from its arguments (a list for each flag), as `CARD_SETTINGS` has them."""
    settings = dict(CARD_SETTINGS)
    for flag in arguments:
        name = flag[0]
        if name in _VALUES and len(flag) > 1:
            settings[_VALUES[name]] = int(flag[1])
        elif name in _WORDS and len(flag) > 1:
            settings[_WORDS[name]] = flag[1]
        elif name in _SWITCHES:
            key, value = _SWITCHES[name]
            settings[key] = value
    settings["batch"] = min(settings["batch"], PROMPT)
    settings["ubatch"] = min(settings["ubatch"], settings["batch"])
    return settings


def settings_of(arguments: Sequence[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Return the settings to measure by name: `card`, and `own` where the board's are others."""
    own = own_settings(arguments)
    return {"card": CARD_SETTINGS} if own == CARD_SETTINGS else {"card": CARD_SETTINGS, "own": own}


def _common(settings: Mapping[str, Any]) -> list[str]:
    words = ["-b", str(settings["batch"]), "-ub", str(settings["ubatch"])]
    words += ["-ctk", settings["cache_type_k"], "-ctv", settings["cache_type_v"]]
    # The engine refuses quantized values without it.
    return words + (["-fa", "1"] if settings["cache_type_v"] not in ("f16", "bf16", "f32") else [])


def bench_words(settings: Mapping[str, Any], repetitions: int) -> list[str]:
    """Return the arguments of llama-bench without the model: a prompt of 512 tokens, then 50 generated ones."""
    words = ["-tgb", f"{settings['threads']},{settings['threads_batch']}", "-p", str(PROMPT), "-n", str(ANSWER)]
    words += ["-r", str(repetitions), *_common(settings)]
    words += ["-rtr", "1"] if settings["repack"] else ["-mmp", str(int(settings["mmap"]))]
    words += ["-thp", "1"] if settings["huge_pages"] else []
    return [*words, "-o", "json"]


def sweep_words(settings: Mapping[str, Any], context: int) -> list[str]:
    """Return the arguments of llama-sweep-bench without the model: speed every `ubatch` tokens up to the context."""
    words = ["-c", str(context), "-t", str(settings["threads"]), "-tb", str(settings["threads_batch"])]
    words += ["-n", str(SWEEP_ANSWER), *_common(settings)]
    words += ["-rtr"] if settings["repack"] else [] if settings["mmap"] else ["--no-mmap"]
    words += ["-thp"] if settings["huge_pages"] else []
    return [*words, "--output-format", "jsonl"]


def bandwidth_words(threads: int) -> list[str]:
    """Return sysbench's command that reads memory with as many threads as generation has, each its own 256 MiB.

    What fits into a cache would measure that.
    """
    return [
        *("sysbench", "memory", "--memory-oper=read", "--memory-scope=local", "--memory-block-size=256M"),
        *("--memory-total-size=1000G", f"--threads={threads}", "--time=10", "run"),
    ]


def steps(found: Mapping[str, Any], options: Mapping[str, Any], bandwidth: bool = True) -> list[dict[str, Any]]:
    """Return what is run on a board, in this order: `name`, `argv`, `expect_s` (seconds, guessed).

    Args:
        found: result of module llama_bench_info.
        options: `repetitions`, and `context` in tokens, 0 for no sweep.
        bandwidth: whether sysbench can be run.
    """
    model, settings = found["model"], settings_of(found["arguments"])
    generation = _GUESS_BYTES / max(model["bytes_per_token"]["total"], 1)
    load = model["tensor_bytes"] / 1e9
    program = ["-m", model["path"]]
    own = settings.get("own", settings["card"])
    wanted: list[dict[str, Any]] = []
    if bandwidth:
        wanted.append({"name": "bandwidth", "argv": bandwidth_words(own["threads"]), "expect_s": 10})
    once = PROMPT / (_GUESS_PROMPT * generation) + ANSWER / generation
    for name, its in settings.items():
        argv = [f"{found['programs']}/llama-bench", *program, *bench_words(its, options["repetitions"])]
        wanted.append({"name": name, "argv": argv, "expect_s": load + once * (options["repetitions"] + 1)})
    if options["context"]:
        rows = -(-options["context"] // own["ubatch"])
        row = own["ubatch"] / (_GUESS_PROMPT * generation) + SWEEP_ANSWER / generation
        argv = [f"{found['programs']}/llama-sweep-bench", *program, *sweep_words(own, options["context"])]
        wanted.append({"name": "context", "argv": argv, "expect_s": load + row * rows})
    return [{**step, "expect_s": max(1, round(step["expect_s"]))} for step in wanted]


def expected_text(seconds: int, limit: int) -> str:
    """Return how long a run may take, as text."""
    guess = f"about {max(1, round(seconds / 60))} min" if seconds >= 90 else f"about {max(1, seconds)} s"
    return f"{guess} on a Pi 5 (computed), {limit // 60} min at most; the server is stopped meanwhile"


def bench_problems(found: Mapping[str, Any], options: Mapping[str, Any], board: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each reason why a board cannot be measured; empty if there is none.

    Args:
        found: result of module llama_bench_info.
        options: `repetitions`, `context`, `time_limit` (seconds), `memory_reserve_mib`.
        board: as module board_facts describes it.
    """
    problems = [
        f"{name} must be {least} or more (llama_bench_{name} = {options[name]})"
        for name, least in (("repetitions", 2), ("context", 0), ("time_limit", 60))
        if options[name] < least
    ]
    if not board["root"]:
        problems.append("Ansible is not root there (ansible_become)")
    if found["problem"]:
        return [*problems, found["problem"]]
    if problems:
        return problems
    own = own_settings(found["arguments"])
    context = max(options["context"], PROMPT + ANSWER)
    need = footprint(
        found["model"],
        context,
        cache_type_k=own["cache_type_k"],
        cache_type_v=own["cache_type_v"],
        ubatch=own["ubatch"],
        ctx_checkpoints=0,
        cache_ram_mib=0,
    )["total"]
    room = board["memory_available_mib"] + found["server"]["resident_mib"] - options["memory_reserve_mib"]
    # A benchmark that runs already, to be waited for, has its memory.
    if need > room * MIB and not found["running"]:
        problems.append(
            f"{-(-need // MIB)} MiB of memory required at a context of {context}, and {max(room, 0)} MiB are left with"
            f" the server stopped (llama_bench_memory_reserve_mib = {options['memory_reserve_mib']}). Stop other"
            " programs, or lower llama_bench_context"
        )
    if found["free_mib"] < ROOM_MIB:
        problems.append(
            f"{ROOM_MIB} MiB of disk space required in /var/lib for the result, {found['free_mib']} MiB found."
            " Remove files there"
        )
    return problems
