"""Who may fetch a board's metrics: node_exporter's web configuration, and what is wrong with the variables.

Format: docs/web-configuration.md of prometheus/exporter-toolkit. All functions are pure.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.net import (
    exposure_problems,
    is_loopback,
    is_network,
    is_wildcard,
    port_problems,
    tls_problems,
)


def web_configuration(settings: dict[str, Any], directory: str) -> str:
    """Return the text of the web configuration; JSON, which is YAML.

    Args:
        settings: users ({name: bcrypt hash}), tls_certificate.
        directory: where `tls.crt` and `tls.key` are.
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


def allowed_addresses(host: str) -> str:
    """Return what the collector may connect to (systemd's IPAddressAllow) where llama-server listens on `host`.

    A server that listens everywhere is asked on loopback. What a name resolves to is not known here.
    """
    if is_wildcard(host) or is_loopback(host):
        return "localhost"
    address = host.partition("%")[0]
    return f"localhost {address}" if is_network(address) else "any"


def metrics_problems(settings: dict[str, Any]) -> list[str]:
    """Return a sentence for each reason why metrics must not be offered like this; empty if there is none.

    Args:
        settings: host, port, users, tls_certificate, tls_key, allow_plain_http, interval.
    """
    problems = exposure_problems(
        "pi_metrics",
        settings["host"],
        "users",
        bool(settings["users"]),
        bool(settings["tls_certificate"] or settings["allow_plain_http"]),
        "a name and the hash of its password",
    )
    problems += [
        f"the password of {name} is no bcrypt hash (pi_metrics_users). Make one with 'htpasswd -nBC 10 {name}'"
        for name, hashed in settings["users"].items()
        if not re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", str(hashed))
    ]
    problems += tls_problems("pi_metrics", settings["tls_certificate"], settings["tls_key"])
    problems += port_problems("pi_metrics", {"port": settings["port"]})
    if settings["interval"] < 5:
        problems.append(
            f"the interval must be 5 seconds or more (pi_metrics_interval = {settings['interval']}). Increase it"
        )
    return problems
