# SPDX-License-Identifier: Apache-2.0
"""Ansible's own output, with one block at the end: what failed and what to do, or what serves."""

from __future__ import annotations

DOCUMENTATION = """
name: report
type: stdout
short_description: Ends a run with the causes of its failures, or with a table of what serves
description:
  - The output of P(ansible.builtin.default#callback), in which a task that fails has one short line. A run that fails
    ends with one block that says for each host, once, what is wrong and what to do. With C(-v), each result is also
    shown where it happens, as Ansible does.
  - A failure that a C(rescue) or C(ignore_errors) caught is no cause, and results of C(no_log) stay hidden.
  - A run that works ends with a table of the boards that serve, and a C(curl) line for one of them.
  - After a host's failure only its changes and further failures are shown, until the play ends. Includes, and plays in
    which nothing is done, are shown with C(-v) alone.
  - Output appears line by line, also where it goes into a file or a pipe.
  - Without it Ansible's own output appears, and nothing else is different.
notes:
  - The table is made from a statistic that a playbook publishes with M(ansible.builtin.set_stats) as
    C(ik_llama_pi_serving). It has for each board C(model), C(url), C(api_key) (whether a key is needed), C(ssh) (the
    command that logs in to the board, or an empty string) and C(unreached) (why the URL was not reached, or an empty
    string).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
author: ik-llama-pi contributors (!UNKNOWN)
"""

import atexit
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible import constants
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as Default

#: Name of the statistic that the table is made from.
SERVING = "ik_llama_pi_serving"
#: What Ansible writes before the message of a task; messages that quote another one have it within.
_PREFIX = re.compile(r"(?<!\S)(?:Task|Action|Module) failed: ")
#: The same before the message of a filter of ours, which says what to do.
_FILTER = re.compile(r"^[^\n]*The filter plugin 'ik_llama\.pi\.\w+' failed: ")
#: Lines of a program's output that are shown where there is no message but that.
_OUTPUT_LINES = 10
_REQUEST = '{"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 64}'


def result_text(result: Mapping[str, Any]) -> str:
    """Return what a failed result says: its message, the causes of its items, or the output of its program."""
    if "censored" in result:
        return "the result is hidden, because the task has no_log"
    failed = [item for item in result.get("results") or [] if isinstance(item, Mapping) and item.get("failed")]
    if failed:
        return "\n".join(unique(result_text(item) for item in failed))
    message = result.get("msg", "")
    lines = [str(line) for line in message] if isinstance(message, (list, tuple)) else [str(message)]
    text = _FILTER.sub("", _PREFIX.sub("", "\n".join(lines).strip()))
    if errors := result.get("argument_errors"):
        role = (result.get("validate_args_context") or {}).get("name") or "arguments"
        text = f"{role}: {'; '.join(str(error) for error in errors)}."
    for name in ("module_stderr", "stderr", "module_stdout", "stdout"):
        output = str(result.get(name) or "").strip()
        if output and output not in text:
            return "\n".join([*text.splitlines(), *output.splitlines()[-_OUTPUT_LINES:]])
    return text or "failed without a message"


def unique(texts: Iterable[str]) -> list[str]:
    """Return the texts in their order, without those that another one contains."""
    kept: list[str] = []
    for text in texts:
        if not any(text in other for other in kept):
            kept = [other for other in kept if other not in text] + [text]
    return kept


def cause(host: str, result: Mapping[str, Any], place: str) -> str:
    """Return the cause as it is shown.

    A message that begins with the name of the host is one of ours and says what to do. What else there is comes from
    Ansible or from a program: it gets the name, and the place of its task.
    """
    text = result_text(result)
    if re.match(rf"{re.escape(host)}\b", text):
        return text
    if result.get("argument_errors"):
        return (
            f"{host}: {text} Correct it in host_vars/{host}.yml, in group_vars, or where it is set"
            f" (ansible-inventory --host {host} shows all variables)."
        )
    if result.get("unreachable"):
        return (
            f"{host}: cannot be reached (ansible_host, ansible_port, ansible_user): {text}\n"
            f"Switch it on and correct the inventory, or leave it out with --limit '!{host}'."
        )
    return f"{host}: {text}\n({place}{'' if 'censored' in result else '; -v shows more'})"


def grouped(causes: Mapping[str, list[str]]) -> list[str]:
    """Return each cause once; hosts that have the same one share it, and it then says HOST instead of their names."""
    groups: dict[str, list[str]] = {}
    for host, texts in causes.items():
        name = re.compile(rf"(?<![\w.-]){re.escape(host)}(?![\w-])")
        for text in texts:
            groups.setdefault(name.sub("\0", text), []).append(host)
    shown = []
    for text, hosts in groups.items():
        if len(hosts) == 1:
            shown.append(text.replace("\0", hosts[0]))
        else:
            shown.append(f"{', '.join(hosts)}: {text.removeprefix(chr(0)).lstrip(': ')}".replace("\0", "HOST"))
    return shown


def table(rows: Iterable[Iterable[str]]) -> list[str]:
    """Return rows of text as lines with aligned columns."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def is_local(url: str) -> bool:
    """Tell whether the server of this URL listens for its own board alone."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def request_lines(board: str, serving: Mapping[str, Any]) -> list[str]:
    """Return the commands that ask a board, to be pasted one by one into a shell of this machine."""
    url = str(serving.get("url", ""))
    lines = []
    if is_local(url) and serving.get("ssh"):
        address = urlsplit(url)
        port, host = address.port or 80, address.hostname or ""
        host = f"[{host}]" if ":" in host else host
        lines += [
            f"{board} answers to itself alone. Forward its port in one shell, and ask in another one:",
            f"  {serving['ssh']} -N -L {port}:{host}:{port}",
        ]
        url = f"http://127.0.0.1:{port}"
    elif serving.get("api_key"):
        lines.append(f"To ask {board}, with KEY set to one of its API keys:")
    else:
        lines.append(f"To ask {board}:")
    words = ["curl", f"{url}/v1/chat/completions", "-H 'Content-Type: application/json'"]
    if serving.get("api_key"):
        words.append('-H "Authorization: Bearer $KEY"')
    lines.append(f"  {' '.join(words)} -d '{_REQUEST}'")
    return lines


class CallbackModule(Default):
    """Show a run as ansible.builtin.default does, and keep the causes of failures for the end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "report"

    def __init__(self) -> None:
        super().__init__()
        #: Failures of each host in their order; those that were rescued among them, which only the statistics tell.
        self._failures: dict[str, list[str]] = {}
        self._unreachable: dict[str, str] = {}
        #: Hosts of this play that failed; one that is in a later play was rescued.
        self._failed: set[str] = set()
        #: A play whose banner waits for its first task that shows something.
        self._waiting_play: Any = None
        self._pid = os.getpid()

    def v2_playbook_on_start(self, playbook: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            # Python writes whole blocks into files and pipes, and Ansible leaves that to it.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True)
        # A run that is interrupted, or that Ansible gives up, has no statistics.
        atexit.register(self._show_the_rest)
        super().v2_playbook_on_start(playbook)

    def _verbose(self, result: Any = None) -> bool:
        """Tell whether to show what Ansible does; it shows an exception even where the result is hidden."""
        return bool(self._display.verbosity > 0) and not (result and "censored" in result.result)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._failed.clear()
        if self._verbose():
            super().v2_playbook_on_play_start(play)
        else:
            self._play = self._waiting_play = play

    def v2_playbook_on_no_hosts_matched(self) -> None:
        if self._verbose():
            super().v2_playbook_on_no_hosts_matched()

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        super()._task_start(task, prefix)
        # Its progress comes before its result.
        if task.action.rpartition(".")[2] == "long_command" and self._last_task_banner != task._uuid:
            self._print_task_banner(task)

    def _print_task_banner(self, task: Any) -> None:
        if self._waiting_play:
            super().v2_playbook_on_play_start(self._waiting_play)
            self._waiting_play = None
        super()._print_task_banner(task)

    def _place(self, task: Any) -> str:
        path = task.get_path() or ""
        path = os.path.relpath(path) if path and path.startswith(os.getcwd() + os.sep) else path
        return f"task '{task.get_name().strip()}'{' in ' + path if path else ''}"

    def _brief(self, result: Any, word: str, color: str, note: str = "") -> None:
        if self._last_task_banner != result.task._uuid:
            self._print_task_banner(result.task)
        self._handle_warnings(result.result)
        to_stderr = self.get_option("display_failed_stderr")
        self._display.display(f"{word}: [{self.host_label(result)}]{note}", color=color, stderr=to_stderr)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            host = result.host.get_name()
            text = cause(host, result.result, self._place(result.task))
            self._failures.setdefault(host, []).append(text)
            self._failed.add(host)
        if self._verbose(result):
            super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
        elif not (result.task.loop and "results" in result.result) or ignore_errors:
            self._brief(result, "failed", constants.COLOR_ERROR, " (ignored)" if ignore_errors else "")

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self._verbose(result):
            super().v2_runner_item_on_failed(result)
        else:
            note = f" (item={self._get_item_label(result.result)})"
            self._brief(result, "failed", constants.COLOR_ERROR, note)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        ignored = result.task.ignore_unreachable
        if not ignored:
            host = result.host.get_name()
            self._unreachable[host] = cause(host, {**result.result, "unreachable": True}, self._place(result.task))
        if self._verbose(result):
            super().v2_runner_on_unreachable(result)
        else:
            self._brief(result, "unreachable", constants.COLOR_UNREACHABLE, " (ignored)" if ignored else "")

    def v2_runner_on_ok(self, result: Any) -> None:
        passing = isinstance(result.task, TaskInclude) or result.host.get_name() in self._failed
        if passing and not (self._run_is_verbose(result) or result.result.get("changed", False)):
            self._handle_warnings(result.result)
        else:
            super().v2_runner_on_ok(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._verbose():
            super().v2_playbook_on_include(included_file)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if self._verbose():
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        super().v2_playbook_on_stats(stats)
        causes: dict[str, list[str]] = {}
        for host in sorted(stats.processed):
            # What was rescued came before: a host whose failure nothing caught does nothing more.
            count = stats.failures.get(host, 0)
            texts = self._failures.get(host, [])[-count:] if count else []
            if host in self._unreachable and stats.dark.get(host):
                texts = [*texts, self._unreachable[host]]
            if texts:
                causes[host] = unique(texts)
        self._failures, self._unreachable = {}, {}
        if causes:
            self._show_causes(causes)
        elif serving := stats.custom.get("_run", {}).get(SERVING):
            self._show_table(dict(sorted(serving.items())))

    def _show_the_rest(self) -> None:
        """Show what nothing has shown yet, where the run ended before its end."""
        if os.getpid() != self._pid:
            return
        causes = {host: texts[-1:] for host, texts in self._failures.items()}
        for host, text in self._unreachable.items():
            causes[host] = [*causes.get(host, []), text]
        if causes:
            self._show_causes(causes)

    def _show_causes(self, causes: Mapping[str, list[str]]) -> None:
        self._display.banner("WHAT FAILED")
        for number, text in enumerate(grouped(causes)):
            lines = [line.rstrip() for line in text.splitlines() if line.strip()]
            block = "\n  ".join(lines)
            self._display.display(f"\n{block}" if number else block, color=constants.COLOR_ERROR)

    def _show_table(self, serving: Mapping[str, Mapping[str, Any]]) -> None:
        rows = []
        for host, said in serving.items():
            url = str(said.get("url", ""))
            rows.append((host, str(said.get("model", "")), f"{url} (on the board)" if is_local(url) else url))
        self._display.banner("WHAT SERVES")
        for line in table([("BOARD", "MODEL", "URL"), *rows]):
            self._display.display(line)
        for host, said in serving.items():
            if said.get("unreached"):
                self._display.display(
                    f"\n{host}: the server answers on the board, but not to this machine at {said['url']}"
                    f" ({said['unreached']}). Firewall? Check the board's, the network's, and llama_server_allow_from.",
                    color=constants.COLOR_WARN,
                )
        # One that answers to this machine, where there is one.
        board = min(serving, key=lambda host: is_local(str(serving[host].get("url", ""))))
        self._display.display("\n" + "\n".join(request_lines(board, serving[board])), color=constants.COLOR_OK)
