"""Asks once and prints status, body, headers and when each line of the answer came, as JSON.

Runs on the gateway. Arguments: URL, key (may be empty), question's body as JSON (empty: GET).
"""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.request

TRUST = ssl.create_default_context(cafile="ca.crt")


def main() -> None:
    url, key, body = sys.argv[1:4]
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, body.encode() or None, headers)
    begun = time.time()
    times = []
    try:
        with urllib.request.urlopen(request, timeout=60, context=TRUST) as response:
            lines = []
            for line in response:
                lines.append(line.decode())
                times.append(time.time() - begun)
            answer = {"status": response.status, "body": "".join(lines), "headers": dict(response.headers)}
    except urllib.error.HTTPError as error:
        answer = {"status": error.code, "body": error.read().decode(), "headers": dict(error.headers)}
    print(json.dumps({**answer, "times": times}))


if __name__ == "__main__":
    main()
