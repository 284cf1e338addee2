"""Take over a file that another account has written, so that this account can trust what it reads.

The writer has a folder of its own. It may have put a link there, or may still be writing: neither is followed or
waited for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
from pathlib import Path


class TakeoverError(Exception):
    """The file was not taken over; the text says why. It is where it was."""


def own_folder(path: Path, owner: int) -> None:
    """Create a folder, below one of this account, that `owner` (a user ID) alone can enter. An existing one stays."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchown(folder, owner, -1)
        os.fchmod(folder, 0o700)
    finally:
        os.close(folder)


def take_over(source: Path, owner: int, target: Path) -> int:
    """Rename a file to `target`, and make it this account's alone. Return it open for reading.

    Args:
        source: the file; its folder belongs to `owner`.
        owner: user ID of who has written it.
        target: in a folder of this account, on the same file system.

    Raises:
        FileNotFoundError: there is no such file.
        TakeoverError: it is a link, has a second name, is no regular file, belongs to somebody else, or is being
            written.
    """
    folder = _folder(source.parent, owner)
    try:
        try:
            file = os.open(source.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise TakeoverError(f"{source}: cannot be opened: {error.strerror}") from error
        try:
            _check(file, source, owner)
            os.rename(source.name, target, src_dir_fd=folder)
            try:
                _own(file, source, target)
            except TakeoverError:
                os.fchown(file, owner, -1)
                os.rename(target, source.name, dst_dir_fd=folder)
                raise
        except BaseException:
            os.close(file)
            raise
        return file
    finally:
        os.close(folder)


def _folder(path: Path, owner: int) -> int:
    """Open the writer's folder. It must be a folder, and the writer's."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TakeoverError(f"{path}: cannot be opened: {error.strerror}") from error
    if os.fstat(folder).st_uid != owner:
        os.close(folder)
        raise TakeoverError(f"{path}: belongs to another user than {owner}")
    return folder


def _check(file: int, source: Path, owner: int) -> None:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise TakeoverError(f"{source}: is not a regular file")
    if found.st_uid != owner:
        raise TakeoverError(f"{source}: belongs to user {found.st_uid} instead of {owner}")
    _check_alone(file, source)


def _own(file: int, source: Path, target: Path) -> None:
    """Make the renamed file ours, and check once more: what was renamed, and who came in between."""
    renamed, opened = os.lstat(target), os.fstat(file)
    if (renamed.st_dev, renamed.st_ino) != (opened.st_dev, opened.st_ino):
        raise TakeoverError(f"{source}: was replaced by another file")
    os.fchown(file, os.geteuid(), os.getegid())
    os.fchmod(file, 0o600)
    _check_alone(file, source)


def _check_alone(file: int, source: Path) -> None:
    if os.fstat(file).st_nlink != 1:
        raise TakeoverError(f"{source}: has a second name (hard link)")
    if has_writer(file):
        raise TakeoverError(f"{source}: is still being written")


def has_writer(file: int) -> bool:
    """Return whether a process has the file open for writing, or mapped so. `file` is open for reading.

    Linux grants a lease for reading only where there is none (fcntl(2), F_SETLEASE). A Mac, through which a model may
    pass on its way, has neither leases nor /proc; there the file is the user's own.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return _writer_in_proc(file)
    # Whoever opens the file now breaks the lease, and the signal of that would end this process.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # a file system without leases
        return _writer_in_proc(file)
    else:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        signal.signal(signal.SIGIO, before)


def _writer_in_proc(file: int) -> bool:
    """Look through the open files of all processes."""
    wanted = os.fstat(file)
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = link.stat()
            if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
                continue
            flags = (link.parents[1] / "fdinfo" / link.name).read_text().split("flags:")[1].split()[0]
        except (OSError, IndexError):
            continue
        if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
            return True
    return False
