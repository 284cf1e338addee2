"""Files that a user names in llama_server_extra: whether the service can read them, before it is started with them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable

#: Flags of llama-server that name a file to read (gpt_params_find_arg in common/common.cpp of ik_llama.cpp).
FILE_FLAGS = {
    "--banned-string-file",
    "--chat-template-file",
    "--grammar-file",
    "--lora",
    "--lora-scaled",
    "--control-vector",
    "--control-vector-scaled",
    "-md",
    "--model-draft",
    "--mmproj",
    "--ssl-cert-file",
    "--ssl-key-file",
    "-spf",
    "--system-prompt-file",
}
#: Folders that the unit hides from the service, and the option that does it (systemd.exec(5)).
HIDDEN = {
    "/home": "ProtectHome",
    "/root": "ProtectHome",
    "/run/user": "ProtectHome",
    "/tmp": "PrivateTmp",
    "/var/tmp": "PrivateTmp",
}


def named_files(arguments: Iterable[list[str]]) -> list[tuple[str, str]]:
    """Return flag and path of each file that the arguments name."""
    found = []
    for flag, *values in arguments:
        name = flag.replace("_", "-") if flag.startswith("--") else flag
        if name in FILE_FLAGS and values:
            found.append((flag, str(values[0])))
    return found


def unreadable(arguments: Iterable[list[str]], user: str) -> list[str]:
    """Return for each file that the service cannot read its flag, its path and why.

    Args:
        user: the service's account. Where it does not exist yet, `nobody` reads in its place.
    """
    problems = []
    for flag, path in named_files(arguments):
        reason = _reason(path, user)
        if reason:
            problems.append(f"{flag} {path}: {reason}")
    return problems


def _reason(path: str, user: str) -> str:
    if not os.path.isabs(path):
        return "the path must be absolute"
    real = os.path.realpath(path)
    for folder, option in HIDDEN.items():
        if os.path.commonpath([folder, real]) == folder:
            return (
                f"the service sees nothing of {folder} ({option}); put it into another folder, like /etc/llama-server"
            )
    if not os.path.isfile(real):
        return "there is no such file on the board"
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        account = pwd.getpwnam("nobody")
    return "" if _reads(real, account) else f"the account {user} cannot read it"


def _reads(path: str, account: pwd.struct_passwd) -> bool:
    """Return whether a process of the account can open the file. Only root can try; else it is this account's word."""
    if os.geteuid() != 0:
        return os.access(path, os.R_OK)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            os.close(os.open(path, os.O_RDONLY))
            code = 0
        except OSError:
            pass
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
