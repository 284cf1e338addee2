"""The state of a fleet, and what `site.yml` would change: sentences and a table. All functions are pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def _options(arguments: Iterable[list[str]]) -> dict[str, str]:
    """Return {flag: its values in one string}; a flag that is there twice has both."""
    options: dict[str, str] = {}
    for flag, *values in arguments:
        options[flag] = " ".join(filter(None, [options.get(flag, ""), *map(str, values)]))
    return options


def changed_options(before: Iterable[list[str]], after: Iterable[list[str]]) -> list[str]:
    """Return `--threads 1 -> 3` for each flag of llama-server that differs; `-` where it is not there."""
    old, new = _options(before), _options(after)

    def shown(options: Mapping[str, str], flag: str) -> str:
        return (options[flag] or "on") if flag in options else "-"

    return [
        f"{flag} {shown(old, flag)} -> {shown(new, flag)}" for flag in {**old, **new} if old.get(flag) != new.get(flag)
    ]


def pending_changes(serving: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return what `site.yml` would change on a board, in words; empty if nothing.

    Args:
        serving: `deployment` (manifest of the deployment that `current` names, empty if there is none), `altered` (what
            somebody changed in it), `keys_change` (whether its API keys are to be others), `running` (ID of the
            deployment that the process was started from), `verified`.
        wanted: `release` (ID of the engine release, empty where it is not known before a compiler is there), `commit`,
            `sha256` and `recipe` of the model (sha256 empty where it is not made yet), `arguments` of llama-server,
            `files` (sha256 of the deployment's files by name).
    """
    return [text for _kind, text in kinds_of_changes(serving, wanted)]


def kinds_of_changes(serving: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the same, each with its kind: everything, engine, compile, model, quantize, option, unit, watchdog,
    script, format, altered, keys, start, restart or verify."""
    deployment = serving["deployment"]
    if not deployment:
        return [("everything", "everything: nothing is in service")]
    changes = []
    if wanted["release"] != deployment["release"]:
        new = wanted["release"] or "to be compiled"
        text = f"engine {deployment['release']} -> {new} (commit {wanted['commit'][:12]})"
        changes.append(("engine" if wanted["release"] else "compile", text))
    before = deployment["model"][:12]
    if not wanted["sha256"]:
        changes.append(("quantize", f"model {before} -> by recipe {wanted['recipe']}, still to be made"))
    elif wanted["sha256"] != deployment["model"]:
        changes.append(("model", f"model {before} -> {wanted['sha256'][:12]} (recipe {wanted['recipe']})"))
    options = [("option", text) for text in changed_options(deployment["arguments"], wanted["arguments"])]
    changes += options
    if deployment["files"]:
        changes += _changed_files(deployment["files"], wanted["files"], explained=bool(options))
    else:
        changes.append(("format", "the form of the deployment, which version 0.1 built"))
    if serving["altered"]:
        changes.append(("altered", f"{', '.join(serving['altered'])}, which somebody changed on the board"))
    if serving["keys_change"]:
        changes.append(("keys", "the API keys"))
    if serving["running"] != deployment["id"]:
        if serving["running"]:
            changes.append(("restart", "restart of the service: another deployment runs"))
        else:
            changes.append(("start", "start of the service: it does not run"))
    elif serving["verified"] != deployment["id"]:
        changes.append(("verify", "verification: this deployment has not answered yet"))
    return changes


def _changed_files(before: Mapping[str, str], after: Mapping[str, str], explained: bool) -> list[tuple[str, str]]:
    """Return what changes in a deployment's files. Options that change are in the start script too (`explained`)."""
    differ = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    changes = []
    if any(name.endswith(".service") for name in differ):
        changes.append(("unit", "the systemd unit"))
    if "watchdog" in differ:
        changes.append(("watchdog", "the watchdog"))
    if "run" in differ and not changes and not explained:
        changes.append(("script", "the start script"))
    return changes


def duration(seconds: float) -> str:
    """Return `3d 4h`, `5h 12m`, `7m` or `20s`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m" if minutes else f"{rest}s"


# Each column of the table, and its head.
COLUMNS = {
    "board": "board",
    "service": "service",
    "temperature": "temp",
    "throttled": "throttled",
    "engine": "engine",
    "model": "model",
    "recipe": "recipe",
    "context": "context",
    "speed": "tokens/s",
    "memory": "memory",
    "disk": "disk free",
    "up": "up",
    "changes": "site.yml would change",
}
HEAD = list(COLUMNS.values())


def _number(value: Any, unit: str, digits: int = 0) -> str:
    return "?" if value is None else f"{value:.{digits}f}{unit}"


def _row(board: Mapping[str, Any]) -> list[str]:
    name = str(board["name"])
    if board.get("problem"):
        return [name, str(board["problem"]), *[""] * (len(HEAD) - 2)]
    facts, server, deployment = board["board"], board["server"], board["deployment"]
    throttled = facts.get("throttled") or {"raw": None}
    if throttled["raw"] is None:
        warned = "?"
    else:
        since = [f"{word} (since boot)" for word in throttled["since_boot"] if word not in throttled["now"]]
        warned = ", ".join([*throttled["now"], *since]) or "no"
    context = _options(deployment.get("arguments", [])).get("--ctx-size", "")
    return [
        name,
        server["health"],
        _number(facts.get("temperature_c"), " C"),
        warned,
        deployment.get("release", "-"),
        deployment.get("model", "-")[:12],
        str(board.get("recipe") or "-"),
        context or "-",
        _number(server["answer"].get("tokens_per_second"), "", 2) if server["answer"] else "-",
        f"{_number(server['memory_mib'], '')} of {_number(facts['memory_mib'], ' MiB')}",
        _number(facts["disk_free_mib"] / 1024, " GiB", 1),
        duration(server["up_s"]) if server["up_s"] else "-",
        "; ".join(board["changes"]) or "nothing",
    ]


def status_rows(boards: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return the table's head and one row for each board."""
    return [HEAD, *map(_row, boards)]


def status_text(boards: Iterable[Mapping[str, Any]]) -> str:
    """Return the table as text. A problem of a board takes the rest of its line.

    Args:
        boards: for each `name` and either `problem` (why nothing is known), or `board` (fact of `board_facts`),
            `server` (from `llama_status_info`), `deployment` (manifest), `recipe`, and `changes` (list of sentences).
    """
    rows = status_rows(boards)
    whole = [row for row in rows if any(row[2:])]
    widths = [max(len(row[column]) for row in whole) for column in range(len(HEAD))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        if row in whole:
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        else:
            lines.append(f"{row[0].ljust(widths[0])}  {row[1]}")
    return "\n".join(lines) + "\n"


def changes_text(boards: Iterable[Mapping[str, Any]]) -> str:
    """Return a line for each board with what would change on it; boards as for `status_text`."""
    return "".join(
        f"{board['name']}: {board.get('problem') or '; '.join(board['changes']) or 'nothing changes'}\n"
        for board in boards
    )
