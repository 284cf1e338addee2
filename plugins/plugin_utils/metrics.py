"""Who may fetch a board's metrics: node_exporter's web configuration, and what speaks against it.

Format: docs/web-configuration.md of prometheus/exporter-toolkit. All functions are pure.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import is_loopback


def web_configuration(settings: dict[str, Any], directory: str) -> str:
    """Text of the web configuration; JSON, which is YAML.

    Args:
        settings: users ({name: bcrypt hash}), tls_certificate.
        directory: where `tls.crt` and `tls.key` lie.
    """
    content: dict[str, Any] = {}
    if settings["tls_certificate"]:
        content["tls_server_config"] = {
            "cert_file": f"{directory}/tls.crt",
            "key_file": f"{directory}/tls.key",
            "min_version": "TLS12",
        }
    if settings["users"]:
        content["basic_auth_users"] = dict(sorted(settings["users"].items()))
    return json.dumps(content, indent=2) + "\n"


def asked_addresses(host: str) -> str:
    """What a look at the board may connect to, for systemd's IPAddressAllow, where llama-server listens on `host`.

    A server that listens everywhere is asked on loopback. What a name stands for is not known here.
    """
    if host in ("0.0.0.0", "::") or is_loopback(host):
        return "localhost"
    address = host.partition("%")[0]
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return "any"
    return f"localhost {address}"


def metrics_problems(settings: dict[str, Any]) -> list[str]:
    """Sentences, one for each reason why metrics must not be offered like this; empty if none.

    Args:
        settings: host, port, users, tls_certificate, tls_key, allow_plain_http, interval.
    """
    problems = []
    if not is_loopback(settings["host"]):
        if not settings["users"]:
            problems.append(
                f"pi_metrics_host is {settings['host']}, which others can reach, and pi_metrics_users is empty:"
                " set a name and the hash of its password, or listen on 127.0.0.1"
            )
        if not settings["tls_certificate"] and not settings["allow_plain_http"]:
            problems.append(
                f"pi_metrics_host is {settings['host']}, which others can reach, and pi_metrics_tls_certificate is"
                " empty, so passwords would go over the network unencrypted: set pi_metrics_tls_certificate and"
                " pi_metrics_tls_key, or pi_metrics_allow_plain_http if the network is your own"
            )
    problems += [
        f"pi_metrics_users has no bcrypt hash for {name}: make one by 'htpasswd -nBC 10 {name}'"
        for name, hashed in settings["users"].items()
        if not re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", str(hashed))
    ]
    if bool(settings["tls_certificate"]) != bool(settings["tls_key"]):
        problems.append("of pi_metrics_tls_certificate and pi_metrics_tls_key only one is set")
    if not 0 < settings["port"] < 65536:
        problems.append(f"pi_metrics_port is {settings['port']}: a port is a number from 1 to 65535")
    if settings["interval"] < 5:
        problems.append(f"pi_metrics_interval is {settings['interval']}: it must be 5 seconds or more")
    return problems
