"""Asks one URL many times, several requests at once, half of them streamed, and prints what became of each as JSON.

Runs on the gateway. Arguments: URL, key, requests, threads, tokens of each answer, and the least seconds from one
request of a thread to its next.
"""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

URL, KEY = sys.argv[1:3]
REQUESTS, THREADS, TOKENS = (int(word) for word in sys.argv[3:6])
LETTERS = "abcdefghijklmnopqrstuvwxyz"
PACE = float(sys.argv[6])
TRUST = ssl.create_default_context(cafile="ca.crt")


def ask(number: int) -> dict[str, Any]:
    """One request: when it began and ended (Unix time), whether streamed, and what was wrong with the answer."""
    stream = number % 2 == 1
    body = {
        "messages": [{"role": "user", "content": "What comes after g?"}],
        "max_tokens": TOKENS,
        "temperature": 0,
        "stream": stream,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    begun = time.time()
    wrong = ""
    try:
        request = urllib.request.Request(f"{URL}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=120, context=TRUST) as response:
            text = response.read().decode()
        if stream:
            events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
            if events[-1:] != ["[DONE]"]:
                wrong = "the stream was cut"
            parts = [
                json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events if event[0] == "{"
            ]
            answer = "".join(parts)
        else:
            answer = json.loads(text)["choices"][0]["message"]["content"]
        if not wrong and answer != (LETTERS * TOKENS)[:TOKENS]:
            wrong = f"the answer was {answer!r}"
    except urllib.error.HTTPError as error:
        wrong = f"HTTP {error.code}: {error.read().decode()[:200]}"
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        wrong = f"{type(error).__name__}: {error}"
    return {"begun": begun, "ended": time.time(), "stream": stream, "wrong": wrong}


def main() -> None:
    numbers = itertools.count()
    results: list[dict[str, Any]] = []

    def work() -> None:
        # next() of a count is one step for Python, so each number is taken once.
        for number in iter(lambda: next(numbers), None):
            if number >= REQUESTS:
                return
            results.append(ask(number))
            time.sleep(max(0.0, results[-1]["begun"] + PACE - time.time()))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
