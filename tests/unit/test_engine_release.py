"""What is not removed, and when that is no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from ansible_collections.ik_llama.pi.plugins.module_utils.engine import releases
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


def test_programs_that_measure_have_a_pointer_of_which_nothing_that_serves_depends(tmp_path: Path) -> None:
    for name in ("serves", "served", "measures", "newer", "newest"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    for name in ("served", "serves"):
        releases.point(str(tmp_path), name)
    releases.point(str(tmp_path), "measures", "bench")
    pointers = {name: releases.pointed(str(tmp_path), name) for name in ("current", "previous", "bench")}
    assert pointers == {"current": "serves", "previous": "served", "bench": "measures"}
    releases.prune(str(tmp_path), 1, [])
    assert {"serves", "served", "measures"} <= {path.name for path in (tmp_path / "releases").iterdir()}
