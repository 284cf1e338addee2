"""What hosts ask their build host for, and what it would build: from requests to releases. All functions are pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.common.digest import content_id

#: What decides which release is meant; the rest of a request says how it is built.
WHAT = (
    "build_host",
    "root",
    "repository",
    "version",
    "targets",
    "cross",
    "native",
    "target_cpu",
    "lto",
    "openblas",
    "cmake_options",
)
#: What module `engine_release_info` wants to know of a request.
LOOK = (*WHAT[1:], "ccache")


def with_digest(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request with its `digest`. Equal digests ask for the same release of the same build host."""
    return {**request, "digest": content_id({name: request[name] for name in WHAT})}


def merge_requests(requests: list[dict[str, Any]], build_host: str) -> list[dict[str, Any]]:
    """Return the requests to one build host, one for each digest, with the hosts that want it as `wanted_by`.

    requests: `ik_llama_build_request` of any hosts. Where they differ in how it is built, the first one counts.
    """
    found: dict[str, dict[str, Any]] = {}
    for request in requests:
        if request["build_host"] == build_host:
            first = found.setdefault(request["digest"], {**request, "wanted_by": []})
            first["wanted_by"].append(request["host"])
    return list(found.values())


def wanted(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the requests as module `engine_release_info` takes them."""
    return [{name: request[name] for name in LOOK} for request in requests]


def plan_releases(requests: list[dict[str, Any]], looked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the releases of `ik_llama_build_plan`: what was asked for and what was found, one for each root and ID.

    A release that is being compiled comes first, because a build attaches to it; nothing else can run meanwhile.
    Objects of the same root are compiled once, and all share one cache of compiled files.
    """
    found: dict[Any, dict[str, Any]] = {}
    for request, release in zip(requests, looked):
        one = {**request, **release}
        name = (one["root"], one["id"] or one["digest"])
        first = found.setdefault(name, {**one, "digests": [], "wanted_by": []})
        first["digests"].append(request["digest"])
        first["wanted_by"] += request["wanted_by"]
    for one in found.values():
        one.pop("digest")
        one.pop("host")
        one["ccache_dir"] = one["ccache_dir"] or f"{looked[0]['root']}/ccache"
    return sorted(found.values(), key=lambda one: one["state"] != "making")


def build_hosts(requests: list[dict[str, Any]]) -> list[str]:
    """Return the hosts that are asked, each once."""
    return list(dict.fromkeys(request["build_host"] for request in requests))


def without_plan(requests: list[dict[str, Any]], plans: dict[str, Any]) -> list[str]:
    """Return for each build host that published no plan, because the run leaves it out, one host that asks it.

    plans: `ik_llama_build_plan` by host, of those that published one.
    """
    asking: dict[str, str] = {}
    for request in requests:
        if request["build_host"] not in plans:
            asking.setdefault(request["build_host"], request["host"])
    return list(asking.values())


def install_plan(
    looked: Mapping[str, Any], request: Mapping[str, Any], build_plan: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `ik_llama_install_plan` of a host; the README of role `ik_llama_install` says what is in it.

    looked: what module `engine_release_info` returned on the host. request: its `ik_llama_build_request`.
    build_plan: `ik_llama_build_plan` of its build host.
    """
    (offer,) = (release for release in build_plan["releases"] if request["digest"] in release["digests"])
    (here,) = looked["releases"]
    finished = here["state"] == "finished"
    waits = not finished and offer["state"] != "finished"
    return {
        "inputs": {"request": request, "offer": offer},
        "id": offer["id"],
        "commit": offer["commit"],
        "build_host": request["build_host"],
        "build_root": offer["root"],
        "root": here["root"],
        "state": here["state"],
        "current": here["current"],
        "waits_for_build": waits,
        "build_host_left_out": waits and not build_plan["in_this_run"],
        "release": here["release"],
        "change": not finished or here["current"] != offer["id"],
    }
