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
