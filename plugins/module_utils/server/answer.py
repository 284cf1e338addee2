"""What a model is asked, and whether its reply is an answer. All functions are pure.

A new deployment, `make verify` and a user's question are asked and judged by this file alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

#: Where a question goes, below the URL of the server.
CHAT = "/v1/chat/completions"
#: An answer that ends by itself has at least so many tokens, of which the last says that it ends.
FEWEST_TOKENS = 3


class Reply(NamedTuple):
    """What a model said: its reasoning and its answer, tokens, whether max_tokens cut it off, and tokens per second.

    `tokens` and `speed` are 0 where the server did not give them.
    """

    thoughts: str
    content: str
    tokens: int
    cut_off: bool
    speed: float

    @property
    def answer(self) -> str:
        """A model that reasons may use up all its tokens on that: then this is its answer."""
        return self.content or self.thoughts


def question(text: str, max_tokens: int, think: bool = True) -> dict[str, Any]:
    """Return the body of a question to the chat API.

    Args:
        think: whether a model that can reason may do so. Chat templates that do not know the switch ignore it.
    """
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    if not think:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return body


def read_reply(reply: Mapping[str, Any]) -> Reply:
    """Return what a reply of the chat API says. LookupError, TypeError or ValueError if it has another form."""
    choice = reply["choices"][0]
    message = choice["message"]
    return Reply(
        str(message.get("reasoning_content") or ""),
        str(message.get("content") or ""),
        int(reply.get("usage", {}).get("completion_tokens", 0)),
        choice.get("finish_reason") == "length",
        float(reply.get("timings", {}).get("predicted_per_second", 0.0)),
    )


def reply_problem(reply: Reply, expect: str) -> str:
    """Return what is wrong with a reply, as the end of a sentence; empty if nothing. The regular expression `expect`
    is searched for in the answer and in the reasoning before it."""
    return answer_problem(f"{reply.thoughts}\n{reply.content}", expect, reply.tokens, reply.cut_off)


def answer_fault(answer: str, expect: str, tokens: int, cut_off: bool) -> str:
    """Return one word for what is wrong with an answer: unexpected, blank, repeated or short; empty if nothing.

    Args:
        answer: all that the model said.
        expect: regular expression that must be found in it. Empty asks only whether it could be language: a model whose
            numbers are wrong repeats one character for ever, or ends at once.
        tokens: how many it generated, 0 where that is not known.
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
    return {
        "": "",
        "unexpected": f"does not match what is expected ({expect})",
        "blank": "is blank",
        "repeated": "is a single character, repeated",
        "short": f"ended after {tokens} tokens, which is no sentence",
    }[answer_fault(answer, expect, tokens, cut_off)]
