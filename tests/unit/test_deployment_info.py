"""Whether the API keys on a board are those that it is to have."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.ik_llama.pi.plugins.modules.llama_deployment_info import compare_keys


@pytest.mark.parametrize(
    ("there", "wanted", "result"),
    [
        ("a\nb\n", ["a", "b"], (False, False)),
        ("b\na\n", ["a", "b"], (False, False)),
        ("a\n", ["b"], (True, True)),
        ("b\na\n", ["b"], (False, True)),
        ("a\n", ["a", "b"], (True, False)),
        (None, ["a"], (True, False)),
    ],
)
def test_keys_that_are_lacking_and_further_ones(
    tmp_path: Path, there: str | None, wanted: list[str], result: tuple[bool, bool]
) -> None:
    file = tmp_path / "keys"
    if there is not None:
        file.write_text(there)
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in wanted]
    assert compare_keys({"api_key_file": str(file), "api_keys_sha256": digests}) == result
    assert compare_keys({"api_key_file": str(file), "api_keys_sha256": None}) == (False, False)
    assert compare_keys({"api_key_file": "", "api_keys_sha256": digests}) == (False, False)
