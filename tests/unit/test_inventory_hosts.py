"""A run without any host must not look like a success."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from ansible.errors import AnsibleFilterError
from naming import unnamed


@pytest.mark.parametrize("option", ["syntax", "listhosts", "listtasks", "listtags"])
def test_an_inventory_without_hosts_is_refused_where_something_would_run(
    plugin: Callable[[str, str], ModuleType], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    code = plugin("filter", "inventory")
    monkeypatch.setattr(code.context, "CLIARGS", {option: False})
    assert code.inventory_hosts({"all": ["pi-01"]}) == "all"
    with pytest.raises(AnsibleFilterError) as refused:
        code.inventory_hosts({"all": []})
    assert unnamed(refused.value, "cp -R inventory/sample inventory/mine") == []
    monkeypatch.setattr(code.context, "CLIARGS", {option: True})
    assert code.inventory_hosts({"all": []}) == "all"


@pytest.mark.parametrize(
    ("version", "right"),
    [
        ("2.19.0", True),
        ("2.19.14", True),
        ("2.19.0rc1", True),
        ("2.14.18", False),
        ("2.18.6", False),
        ("2.20.1", False),
    ],
)
def test_another_ansible_is_named(plugin: Callable[[str, str], ModuleType], version: str, right: bool) -> None:
    problem = plugin("filter", "inventory").version_problem(version)
    assert (problem == "") == right
    assert right or unnamed(problem, version, "2.19", "requirements.txt") == []
