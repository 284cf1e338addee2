"""What the log of llama-server says."""

from __future__ import annotations

from ansible_collections.ik_llama.pi.plugins.module_utils.server.log import last_answer, telling_lines


def test_the_last_answer_is_read_from_the_journal() -> None:
    said = (
        "{}.420341 pi-01 llama-server[7]: {} time =  119.66 ms / 16 tokens (  7.48 ms per token,  {} tokens per second)"
    )
    lines = [
        "1795515030.1 pi-01 llama-server[7]: INFO all slots are idle",
        said.format(1795515025, "       eval", 133.71),
        said.format(1795515025, "prompt eval", 32.96),
        said.format(1795515000, "       eval", 1.0),
    ]
    assert last_answer(lines) == {"tokens_per_second": 133.71, "prompt_tokens_per_second": 32.96, "at": 1795515025.0}
    assert last_answer(lines[:2]) == {"tokens_per_second": 133.71, "at": 1795515025.0}
    assert last_answer([]) == {}


def test_the_log_without_health_checks() -> None:
    log = """first
INFO [launch_slot_with_task] slot is processing task
INFO [request] method="GET" path="/health"
INFO [update_slots] all slots are idle

second
INFO [process_single_task] slot data | n_idle_slots=1
"""
    assert telling_lines(log, 2) == ["INFO [launch_slot_with_task] slot is processing task", "second"]
    assert telling_lines("", 5) == []
