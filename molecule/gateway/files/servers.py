"""Prints what HAProxy says of each board, as JSON: {name: {status, scur, stot, ...}} (its command `show stat`)."""

from __future__ import annotations

import csv
import json
import socket


def main() -> None:
    with socket.socket(socket.AF_UNIX) as haproxy:
        haproxy.connect("/run/llama-gateway/admin.sock")
        haproxy.sendall(b"show stat\n")
        text = b"".join(iter(lambda: haproxy.recv(65536), b"")).decode()
    rows = csv.DictReader(text.lstrip("# ").splitlines())
    print(json.dumps({row["svname"]: row for row in rows if row["pxname"] == "boards"}))


if __name__ == "__main__":
    main()
