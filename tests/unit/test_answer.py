"""What a model is asked, and what counts as an answer."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.server.answer import (
    answer_fault,
    answer_problem,
    question,
    read_reply,
    reply_problem,
)
from naming import unnamed


@pytest.mark.parametrize(
    ("answer", "expect", "tokens", "cut_off", "fault", "names"),
    [
        ("The sky is blue.", "", 6, False, "", []),
        ("<think>\nThe user", "", 16, True, "", []),
        ("Hi", "", 1, True, "", []),
        ("Hi", "", 2, False, "short", [2]),
        ("The sky", "", 0, False, "", []),  # how many is not known
        (" \n\n ", "", 16, True, "blank", []),
        ("!!!! !!!!", "", 16, True, "repeated", []),
        ("It is Paris.", "Paris", 5, False, "", []),
        ("Paris", "Paris", 2, False, "", []),
        ("It is Rome.", "Paris", 5, False, "unexpected", ["Paris"]),
        ("!!!!", "Paris", 5, False, "unexpected", ["Paris"]),
    ],
)
def test_what_counts_as_an_answer(
    answer: str, expect: str, tokens: int, cut_off: bool, fault: str, names: list[Any]
) -> None:
    assert answer_fault(answer, expect, tokens, cut_off) == fault
    problem = answer_problem(answer, expect, tokens, cut_off)
    assert bool(problem) == bool(fault)
    assert unnamed(problem, *names) == []


def reply(content: str, thoughts: str = "", tokens: int = 5, reason: str = "stop") -> dict[str, Any]:
    message = {"content": content, "reasoning_content": thoughts}
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": {"completion_tokens": tokens}}


def test_a_model_is_asked_the_same_by_all_who_judge_its_answer() -> None:
    body = question("Hello?", 16, think=False)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["max_tokens"], body["temperature"]) == (16, 0)
    assert "chat_template_kwargs" not in question("Hello?", 16)


@pytest.mark.parametrize(
    ("given", "answer", "expect", "good"),
    [
        (reply("It is Paris."), "It is Paris.", "Paris", True),  # searched for, not anchored
        (reply("", "The user wants Paris", reason="length"), "The user wants Paris", "Paris", True),
        (reply("So it is.", "Paris?"), "So it is.", "Paris", True),
        (reply("It is Rome."), "It is Rome.", "Paris", False),
        (reply("!!!!!!!!", reason="length"), "!!!!!!!!", "", False),
        (reply("", tokens=1), "", "", False),
        (reply("Hi", tokens=2), "Hi", "", False),
        (reply("The sky is blue."), "The sky is blue.", "", True),
    ],
)
def test_a_reply_is_judged(given: dict[str, Any], answer: str, expect: str, good: bool) -> None:
    read = read_reply(given)
    assert read.answer == answer
    assert (reply_problem(read, expect) == "") == good


def test_speed_and_tokens_are_zero_where_the_server_does_not_say() -> None:
    read = read_reply({"choices": [{"message": {"content": "a"}}]})
    assert (read.tokens, read.speed, read.cut_off) == (0, 0.0, False)


@pytest.mark.parametrize("wrong", [{}, {"choices": []}, {"choices": [{}]}])
def test_a_reply_of_another_form_is_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(LookupError):
        read_reply(wrong)
