# SPDX-License-Identifier: Apache-2.0
"""Filters of the roles ik_llama_build and ik_llama_install, and of the playbooks that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.ik_llama.pi.plugins.module_utils.engine.build import ignored_options, unused_options
from ansible_collections.ik_llama.pi.plugins.plugin_utils import engine_checks, engine_plan
from ansible_collections.ik_llama.pi.plugins.plugin_utils.hosts import fact


def engine_ignored_options(cmake_output: str, options: dict[str, str]) -> list[str]:
    """Return the wanted options that, as CMake reports, the commit does not have."""
    return ignored_options(unused_options(cmake_output), options)


def engine_build_hosts(hosts: Iterable[str], hostvars: Any) -> list[str]:
    """Return the hosts that have to build what `hosts` ask for."""
    return engine_plan.build_hosts(requests_of(hosts, hostvars))


def engine_hosts_that_ask(hosts: Iterable[str], hostvars: Any) -> list[str]:
    """Return for each build host that the run leaves out one of those hosts that need it."""
    requests = requests_of(hosts, hostvars)
    plans = {host: fact(hostvars, host, "ik_llama_build_plan") for host in engine_plan.build_hosts(requests)}
    return engine_plan.without_plan(requests, {host: plan for host, plan in plans.items() if plan})


def requests_of(hosts: Iterable[str], hostvars: Any) -> list[dict[str, Any]]:
    """Return what those of the hosts ask for that published it."""
    found = (fact(hostvars, host, "ik_llama_build_request") for host in hosts)
    return [request for request in found if request]


def engine_requests(hostvars: Any, build_host: str) -> list[dict[str, Any]]:
    """Return what hosts ask a build host for, one for each digest."""
    return engine_plan.merge_requests(requests_of(dict.fromkeys([*hostvars, "localhost"]), hostvars), build_host)


class FilterModule:
    """Offers the filters to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "engine_build_hosts": engine_build_hosts,
            "engine_build_problems": engine_checks.build_problems,
            "engine_host_problems": engine_checks.host_problems,
            "engine_hosts_that_ask": engine_hosts_that_ask,
            "engine_ignored_options": engine_ignored_options,
            "engine_install_plan": engine_plan.install_plan,
            "engine_install_problems": engine_checks.install_problems,
            "engine_plan_releases": engine_plan.plan_releases,
            "engine_request_problems": engine_checks.request_problems,
            "engine_requests": engine_requests,
            "engine_wanted": engine_plan.wanted,
            "engine_with_digest": engine_plan.with_digest,
        }
