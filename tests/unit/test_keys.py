from __future__ import annotations

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import canonical_json, content_id


def test_order_of_names_does_not_matter() -> None:
    assert canonical_json({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"\\u00fc"]}'
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})


def test_key_is_twelve_hex_digits_and_follows_the_content() -> None:
    # printf '{"a":1}' | sha256sum
    assert content_id({"a": 1}) == "015abd7f5cc5"
    assert content_id({"a": 1}) != content_id({"a": "1"})


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})
