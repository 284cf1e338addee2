"""The account that the server runs as: whether it is ours, before it is made or removed."""

from __future__ import annotations

import grp
import os
import pwd

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
