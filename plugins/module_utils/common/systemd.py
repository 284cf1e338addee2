"""The state of systemd's units."""

from __future__ import annotations

import contextlib
import subprocess


def show(unit: str, *properties: str) -> dict[str, str]:
    """Return properties of a unit by their names (systemctl(1), show); empty where there is no systemd.

    A unit that does not exist has properties too: `LoadState` is `not-found`, `MainPID` is `0`.
    """
    try:
        shown = subprocess.run(
            ["systemctl", "show", f"--property={','.join(properties)}", unit],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)


def reset_failed(unit: str) -> None:
    """Let a unit start that has used up its starts (systemctl(1), reset-failed); nothing where it is not loaded."""
    with contextlib.suppress(OSError):
        subprocess.run(
            ["systemctl", "reset-failed", unit], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
