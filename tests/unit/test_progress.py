from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common.progress import parse, remaining, tail
from naming import unnamed


@pytest.mark.parametrize(
    ("output", "percent", "text"),
    [
        ("[1/480] Building CXX\n[212/480] Building CXX object a.o\n", 44, "212/480 44%"),
        ("[212/480] a\nwarning: 7 things\n", 44, "212/480 44%"),
        ("[  12/ 733] blk.0.attn_q.weight - [256, 512]\n", 1, "12/733 1%"),
        ("[ 62%] Building CXX object\n", 62, "62%"),
        (
            "      1,234   3%  1.00MB/s 0:00:01\r    22,222  44%  9.00MB/s 0:00:02 (xfr#3, to-chk=1/3)",
            44,
            "44%",
        ),
        ("[9/10] at 100%\n", 90, "9/10 90%"),
    ],
)
def test_newest_progress_is_found(output: str, percent: int, text: str) -> None:
    found = parse(output)
    assert found is not None
    assert (found.percent, found.text) == (percent, text)


TABLE = """
chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS      Same top p
   1       5.0130 ±    0.8211       0.01203 ±    0.01123       0.02113 ±    0.00213     3.125 ±  0.313 %    91.3 ± 1.7 %
  12       6.1130 ±    0.2211       0.01003 ±    0.00123       0.02013 ±    0.00013     3.025 ±  0.113 %    92.3 ± 0.7 %
"""


@pytest.mark.parametrize(
    ("output", "steps", "text"),
    [
        (
            "calculating perplexity over 20 chunks, n_ctx=512\n12.00 seconds per pass\n[1]5.1,[2]6.2,[3]nan,",
            64,
            "3/20 15%",
        ),
        ("[1]5.1,[2]6.2,", 8, "2/8 25%"),
        (TABLE, 48, "12/48 25%"),
        (TABLE.replace("6.1130", "   nan"), 12, "12/12 100%"),
    ],
)
def test_steps_are_counted_where_their_number_is_known(output: str, steps: int, text: str) -> None:
    found = parse(output, steps)
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize("output", ["", "[9/10] 50%\n", TABLE])
def test_what_counts_no_steps_is_no_progress(output: str) -> None:
    assert parse(output, 4) is None


@pytest.mark.parametrize("output", ["", "nothing yet\n", "[9/4]\n", "[3/0]\n", "250%\n"])
def test_no_progress_is_invented(output: str) -> None:
    assert parse(output) is None


@pytest.mark.parametrize(
    ("percent", "elapsed", "time"),
    [
        (50, 5, ()),
        (1, 100, ()),
        (100, 100, ()),
        (50, 60, (60, "s")),
        (44, 300, (6, "min")),
        (10, 3600, ("9.0", "h")),
    ],
)
def test_remaining_time(percent: int, elapsed: float, time: tuple[Any, ...]) -> None:
    text = remaining(percent, elapsed)
    assert bool(text) == bool(time)
    assert unnamed(text, *time) == []


def test_a_step_that_takes_longer_than_all_the_rest_should_leaves_no_estimate() -> None:
    assert unnamed(remaining(90, 900, 40), 60, "s") == []
    assert remaining(90, 900, 100) == ""


def test_tail_counts_redrawn_lines_too() -> None:
    assert tail("a\rb\n\nc\n", 2) == ["b", "c"]
