"""Keep the compiled form of modules that come out of a zip file.

Ansible sends a module as a zip of sources, and Python compiles them again for each task.
Boards of a lab share their host's processor, and under emulation that is a third of a task's time.
"""

import _imp
import marshal
import os
import zipimport
from importlib._bootstrap_external import MAGIC_NUMBER

_FOLDER = "/var/cache/lab-zip"
_VERSION = int.from_bytes(MAGIC_NUMBER, "little")
_compile = zipimport._compile_source


def _remembered(pathname, source):
    """Return the code of source, from the folder if it is there already."""
    name = f"{_imp.source_hash(_VERSION, source).hex()}-{len(source)}"
    path = f"{_FOLDER}/{name}"
    try:
        with open(path, "rb") as file:
            return marshal.load(file)
    except (OSError, EOFError, ValueError, TypeError):
        pass
    code = _compile(pathname, source)
    try:
        part = f"{path}.{os.uname().nodename}.{os.getpid()}"
        with open(part, "wb") as file:
            marshal.dump(code, file)
        os.replace(part, path)
    except OSError:
        pass
    return code


# Root alone, so that nobody else's code ends up in a task of root.
if os.geteuid() == 0:
    zipimport._compile_source = _remembered
