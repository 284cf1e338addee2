"""The account that the server runs as, and its unit: whether they are ours, before they are made or removed."""

from __future__ import annotations

import grp
import os
import pwd
import re
from pathlib import Path

from ansible_collections.ik_llama.pi.plugins.module_utils.common.files import read_text
from ansible_collections.ik_llama.pi.plugins.module_utils.common.systemd import show

#: Comment of an account that role `llama_server` has made.
MARK = "ik-llama-pi"
#: What an account that nobody logs in to has.
_NO_HOME = "/nonexistent"
_NO_SHELLS = ("nologin", "false")
#: The first user ID of people (login.defs(5), UID_MIN).
_PEOPLE = 1000


def account_owner(name: str, unit_path: str) -> str:
    """Return who else has an account or a group of this name, empty if it is free, or ours.

    Args:
        name: of the account.
        unit_path: the server's unit. Version 0.1 marked no account; where its unit is there, the account is ours.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        try:
            grp.getgrnam(name)
        except KeyError:
            return ""
        return f"a group {name}, without an account of that name"
    if user.pw_gecos.split(",")[0] == MARK:
        return ""
    nobody = user.pw_dir == _NO_HOME and os.path.basename(user.pw_shell) in _NO_SHELLS and user.pw_uid < _PEOPLE
    if nobody and os.path.exists(unit_path):
        return ""
    return f"an account {name} with the home directory {user.pw_dir} and the shell {user.pw_shell}"


def unit_owner(unit_path: str, root: str) -> str:
    """Return whose the unit with the name of the server's is, empty if there is none, or ours.

    Ours starts what is in service below the root, or is that of a deployment. A unit of a package counts too.

    Args:
        unit_path: the server's unit.
        root: folder of the deployments.
    """
    path = unit_path
    if not os.path.exists(path):
        path = show(os.path.basename(path), "FragmentPath").get("FragmentPath", "")
    text = read_text(path).strip() if path else ""  # a unit that was masked, or whose file is gone, has none
    if not text or re.search(rf"^[^#;\n]*=\S*{re.escape(root)}/current\b", text, re.MULTILINE):
        return ""
    made = Path(root).glob(f"deployments/*/{os.path.basename(unit_path)}")
    if any(read_text(unit).strip() == text for unit in made):
        return ""
    started = re.search(r"^\s*ExecStart\s*=\s*(.+)$", text, re.MULTILINE)
    return f"{path} (ExecStart = {started[1].strip()})" if started else path
