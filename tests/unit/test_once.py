from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.plugin_utils.once import once


def test_one_process_asks_and_all_get_its_answer(tmp_path: Path) -> None:
    asked = tmp_path / "asked"

    def ask() -> dict[str, str]:
        with asked.open("a") as handle:
            handle.write("x")
        time.sleep(0.2)
        return {"commit": "0" * 40}

    def process(answers: multiprocessing.Queue[dict[str, str]]) -> None:
        answers.put(once(str(tmp_path), "which commit", ask))

    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[dict[str, str]] = context.Queue()
    processes = [context.Process(target=process, args=(answers,)) for _ in range(4)]
    for each in processes:
        each.start()
    assert [answers.get(timeout=10) for _ in processes] == [{"commit": "0" * 40}] * 4
    assert asked.read_text() == "x"


def test_another_question_gets_an_answer_of_its_own(tmp_path: Path) -> None:
    assert once(str(tmp_path), "one", lambda: 1) == 1
    assert once(str(tmp_path), "two", lambda: 2) == 2
    assert once(str(tmp_path), "one", lambda: 3) == 1


def test_who_gets_no_answer_leaves_none(tmp_path: Path) -> None:
    def fail() -> None:
        raise ConnectionError("the host is away")

    with pytest.raises(ConnectionError):
        once(str(tmp_path), "one", fail)
    assert once(str(tmp_path), "one", lambda: 1) == 1
