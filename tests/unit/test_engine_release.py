"""What is not removed, and when that is no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from naming import unnamed


class Module:
    """As much of AnsibleModule as `remove` asks for."""

    def __init__(self, users: list[str], check_mode: bool) -> None:
        self.params = {"users": users}
        self.check_mode = check_mode

    def fail_json(self, msg: str) -> NoReturn:
        raise RuntimeError(msg)

    def exit_json(self, **values: Any) -> NoReturn:
        raise SystemExit(values["changed"])


def test_an_engine_in_use_stays_and_check_mode_says_what_would_go(plugin: Any, tmp_path: Path) -> None:
    remove = plugin("modules", "engine_release").remove
    root = tmp_path / "engine"
    (root / "releases/0123456789ab").mkdir(parents=True)
    user = tmp_path / "current"
    user.symlink_to(root / "releases/0123456789ab")
    with pytest.raises(RuntimeError) as refused:
        remove(Module([str(user)], check_mode=False), str(root))
    assert unnamed(refused.value, root, user) == []
    assert root.exists()
    # In check mode the server, which is removed first, is still there.
    with pytest.raises(SystemExit) as shown:
        remove(Module([str(user)], check_mode=True), str(root))
    assert shown.value.code is True
    assert root.exists()
    user.unlink()
    with pytest.raises(SystemExit):
        remove(Module([str(user)], check_mode=False), str(root))
    assert not root.exists()
