"""Replace secrets, addresses and names by placeholders, in text that a user sends to others. No I/O.

Equal values get equal placeholders, so that a text stays readable: `<host-1>` is the same host everywhere. What is not
certain is replaced: a version number of four parts looks like an address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SECRET = "<secret>"
#: Ends of the names of variables that hold secrets.
SECRET_NAME = re.compile(
    r"(?i)(^vault_|api_?keys?$|tokens?$|pass(word|wd|phrase)?s?$|secrets?$|_key$|metrics_users$|_hash(es)?$)"
)
#: Ends of the names of variables that hold addresses or names of hosts.
ADDRESS_NAME = re.compile(r"(?i)(ansible_host|_address|_hosts?|_url)$")
#: Shorter words are no secrets, and would be found everywhere.
SHORTEST = 4
#: Public hosts that are no secret, and say where something comes from.
PUBLIC = ("github.com", "githubusercontent.com", "huggingface.co", "debian.org", "raspberrypi.com", "python.org")
#: Words that every machine has.
KNOWN_WORDS = {"localhost", "root", "true", "false", "none", "all", "ungrouped"}

PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)
IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)")
IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?:%[\w.-]+)?(?![\w:])"
)
MAC = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
#: Patterns of secrets that no variable is known for, and what replaces them.
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {SECRET}"),
    (re.compile(r"(?i)(\bauthorization[\"']?\s*[:=]\s*)(?!(?:bearer|basic)\b)[^\s,}\"']+"), rf"\1{SECRET}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@]+@"), rf"\1{SECRET}@"),
    (
        re.compile(
            r"(?i)([\w-]*(?:api[_-]?keys?|token|passw(?:or)?d|passphrase|secret|signature|credential)[\"']?"
            r"(?:[ \t]*[:=]\s*|[ \t]+)\[?\s*[\"']?)"
            r"(?![<\s])([^\s\"',\]}&]{4,})(?=[\s\"',\]}&]|\Z)"
        ),
        rf"\1{SECRET}",
    ),
    (
        re.compile(r"\b(?:hf|ghp|gho|ghs|glpat|xox[abp])[_-][A-Za-z0-9_-]{10,}|\bgithub_pat_\w{10,}|\bsk-[\w-]{16,}"),
        SECRET,
    ),
    (re.compile(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}|\$(?:1|5|6|y)\$[./A-Za-z0-9$=,]{20,}"), SECRET),
    (re.compile(r"\b(?:ssh-(?:rsa|ed25519|dss)|ecdsa-sha2-\S+)\s+[A-Za-z0-9+/=]{20,}"), "<ssh-key>"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    (re.compile(r"(/home/|/Users/)[^/\s:\"']+"), r"\1<user>"),
)
URL_HOST = re.compile(
    r"(\b[a-z][a-z0-9+.-]*://(?:<secret>@)?)([A-Za-z0-9.-]+\.[A-Za-z]{2,}|[A-Za-z0-9-]+)(?=[:/?#\s\"'),]|\Z)"
)
LOCAL_NAME = re.compile(
    r"(?i)(?<![\w.-])(?:[a-z0-9-]+\.)+(?:local|lan|home|internal|intranet|localdomain|home\.arpa|fritz\.box)(?![\w-])"
)


def words(value: Any) -> Iterator[str]:
    """Yield all strings in a value, those of lists and of mappings' values too."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from words(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from words(item)
    elif isinstance(value, str):
        yield value


class Redactor:
    """Replaces the same value by the same placeholder, in all texts that it is given."""

    def __init__(self, hosts: Iterable[str] = (), secrets: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        """Take the names of the hosts (`<host-N>` in that order), values that are secrets, and other names of hosts."""
        self.placeholders: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.known: dict[str, str] = {}
        for name in hosts:
            self._know(name, "host")
        for name in names:
            self._know(name, "name")
        for secret in secrets:
            for line in (secret, *secret.splitlines()):
                if len(line.strip()) >= SHORTEST and line.strip() not in KNOWN_WORDS:
                    self.known[line.strip()] = SECRET
        longest = sorted(self.known, key=len, reverse=True)
        # A name is one where no letter and no digit is next to it; a secret is one anywhere.
        parts = [
            re.escape(text) if self.known[text] == SECRET else rf"(?<![\w-]){re.escape(text)}(?![\w-])"
            for text in longest
        ]
        self.pattern = re.compile("|".join(parts)) if parts else None

    def _know(self, name: str, kind: str) -> None:
        if name and name not in KNOWN_WORDS and not _harmless_address(name):
            self.known.setdefault(name, self._placeholder(name, "address" if _is_address(name) else kind))

    def _placeholder(self, value: str, kind: str) -> str:
        if value not in self.placeholders:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.placeholders[value] = f"<{kind}-{self.counts[kind]}>"
        return self.placeholders[value]

    def _address(self, found: re.Match[str]) -> str:
        text = found[0]
        if not _is_address(text) or _harmless_address(text):
            return text
        return self._placeholder(text, "address")

    def _host(self, found: re.Match[str]) -> str:
        host = found[2]
        public = any(host == name or host.endswith(f".{name}") for name in PUBLIC)
        return found[0] if public or host in KNOWN_WORDS else found[1] + self._placeholder(host, "name")

    def text(self, text: str) -> str:
        """Return the text with placeholders."""
        text = PEM.sub(lambda found: f"<{found[1].lower().replace(' ', '-')}>", text)
        if self.pattern:
            text = self.pattern.sub(lambda found: self.known[found[0]], text)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        text = MAC.sub("<mac>", text)
        text = URL_HOST.sub(self._host, text)
        text = IPV6.sub(self._address, text)
        text = IPV4.sub(self._address, text)
        return LOCAL_NAME.sub(lambda found: self._placeholder(found[0], "name"), text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _harmless_address(text: str) -> bool:
    """Return whether this is loopback or the wildcard, which every machine has."""
    if not _is_address(text):
        return False
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.is_loopback or address.is_unspecified


def secrets_of(variables: Mapping[str, Any]) -> set[str]:
    """Return the values of variables whose names say that they are secret."""
    return {
        word
        for name, value in variables.items()
        if SECRET_NAME.search(name) and not name.endswith("_path")
        for word in words(value)
    }


def names_of(variables: Mapping[str, Any]) -> set[str]:
    """Return the values of variables whose names say that they are addresses or names of hosts."""
    return {
        word
        for name, value in variables.items()
        if ADDRESS_NAME.search(name)
        for word in words(value)
        if "/" not in word and len(word) > 1
    }
