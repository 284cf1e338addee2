"""Addresses that a service listens on, who may reach it there, and how a program asks the services of its own host."""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import Any


def open_directly(request: str | urllib.request.Request, timeout: float) -> Any:
    """Open a URL of this host without a proxy, whatever the environment names; a proxy knows nothing of this host."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


def is_loopback(host: str) -> bool:
    """Return whether a service that listens on `host` is reached from its own machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Return whether a service that listens on `host` listens on every address of its machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def listen_problem(host: str) -> str:
    """Return why no service of this machine can listen on `host` now, empty if one can. No port is taken."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.bind(address)
    except OSError as error:
        return str(error.strerror or error)
    return ""


def is_network(text: str) -> bool:
    """Return whether this is an address, or a network like 192.168.1.0/24."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def local_address(host: str) -> str:
    """Return the address by which a machine reaches its own service that listens on `host`."""
    if not is_wildcard(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def exposure_problems(
    role: str,
    host: str,
    access: str,
    allowed: bool,
    encrypted: bool = True,
    credential: str = "a key",
    tls: bool = True,
) -> list[str]:
    """Return a sentence for each rule that a service breaks which other machines can reach.

    Args:
        role: what the names of the role's variables begin with.
        host: address that the service listens on, from the variable `<role>_host`.
        access: the end of the name of the variable that says who may use the service, like `api_keys`.
        allowed: whether that variable is set.
        encrypted: whether TLS is configured, or a user chose to do without.
        credential: what to set in that variable.
        tls: whether the role has variables for TLS.
    """
    if is_loopback(host):
        return []
    problems = []
    if not allowed:
        problems.append(
            f"other machines can reach it, and {role}_{access} is empty ({role}_host = {host})."
            f" Set {credential} in {role}_{access} (in a vault), or listen on 127.0.0.1"
        )
    if not encrypted:
        way = f"Set {role}_tls_certificate and {role}_tls_key" if tls else "Listen on 127.0.0.1"
        problems.append(
            f"other machines can reach it, and nothing is encrypted ({role}_host = {host}"
            f"{f', {role}_tls_certificate is empty' if tls else ''}). {way},"
            f" or set {role}_allow_plain_http if the network is your own"
        )
    return problems


def port_problems(role: str, ports: dict[str, int]) -> list[str]:
    """Return a sentence for each port that is none. The keys are the ends of the variables' names."""
    return [
        f"a port is a number from 1 to 65535 ({role}_{name} = {port}). Choose another"
        for name, port in ports.items()
        if not 0 < port < 65536
    ]


def tls_problems(role: str, certificate: str, key: str) -> list[str]:
    """Return a sentence for a certificate (PEM) without its private key, or the other way round, or that is no PEM."""
    names = f"{role}_tls_certificate and {role}_tls_key"
    if bool(certificate) != bool(key):
        return [f"only one of {names} is set. Set both or none"]
    if certificate and ("-----BEGIN CERTIFICATE-----" not in certificate or "PRIVATE KEY-----" not in key):
        return [f"{names} must be the texts of a certificate and of its private key (PEM). Correct them"]
    return []
