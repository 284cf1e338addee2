"""From what hosts ask for to what a build host builds, each once."""

from __future__ import annotations

from typing import Any

from ansible_collections.ik_llama.pi.plugins.plugin_utils import engine_plan

REQUEST: dict[str, Any] = {
    "build_host": "pc",
    "root": "~/cross",
    "repository": "https://example.org/engine.git",
    "version": "main",
    "targets": ["llama-server"],
    "cross": True,
    "native": True,
    "target_cpu": "cortex-a76",
    "lto": True,
    "openblas": False,
    "cmake_options": {},
    "ccache": True,
    "ccache_dir": "",
    "jobs_wanted": 0,
}


def request(host: str, **changes: Any) -> dict[str, Any]:
    return engine_plan.with_digest({**REQUEST, "host": host, **changes})


def looked(name: str, *, root: str = "/home/pi/cross", state: str = "absent") -> dict[str, Any]:
    """Return what module engine_release_info has of one release."""
    return {"root": root, "id": name, "state": state}


def test_only_what_decides_on_the_release_is_in_the_digest() -> None:
    one = request("pi-01")["digest"]
    assert one == request("pi-02", jobs_wanted=3, ccache_dir="/x")["digest"]
    different: list[dict[str, Any]] = [
        {"version": "next"},
        {"root": "/srv"},
        {"build_host": "nas"},
        {"targets": []},
        {"lto": False},
    ]
    for changes in different:
        assert one != request("pi-01", **changes)["digest"]


def test_equal_requests_are_one_and_those_to_others_are_left_out() -> None:
    requests = [
        request("pi-01", jobs_wanted=3),
        request("pi-02"),
        request("pi-03", lto=False),
        request("a", build_host="b"),
    ]
    first, second = engine_plan.merge_requests(requests, "pc")
    assert (first["wanted_by"], first["jobs_wanted"]) == (["pi-01", "pi-02"], 3)
    assert second["wanted_by"] == ["pi-03"]
    assert engine_plan.merge_requests(requests, "nobody") == []


def test_the_module_is_given_what_it_takes() -> None:
    (wanted,) = engine_plan.wanted([request("pi-01")])
    assert wanted.keys() == REQUEST.keys() - {"build_host", "ccache_dir", "jobs_wanted"}


def test_a_branch_and_its_commit_are_one_release() -> None:
    requests = engine_plan.merge_requests([request("pi-01"), request("pi-02", version="f" * 40)], "pc")
    (release,) = engine_plan.plan_releases(requests, [looked("aaa"), looked("aaa")])
    assert release["wanted_by"] == ["pi-01", "pi-02"]
    assert release["digests"] == [each["digest"] for each in requests]


def test_without_a_compiler_releases_have_no_id_and_stay_apart() -> None:
    requests = engine_plan.merge_requests([request("pi-01"), request("pi-02", lto=False)], "pc")
    assert len(engine_plan.plan_releases(requests, [looked(""), looked("")])) == 2


def test_what_is_being_compiled_comes_first() -> None:
    requests = engine_plan.merge_requests([request("pi-01"), request("pi-02", lto=False)], "pc")
    found = engine_plan.plan_releases(requests, [looked("aaa"), looked("bbb", state="making")])
    assert [each["id"] for each in found] == ["bbb", "aaa"]


def test_releases_in_several_roots_share_one_cache_of_objects() -> None:
    requests = engine_plan.merge_requests(
        [request("pi-01"), request("pc", root="/q"), request("b", root="/c", ccache_dir="/d")], "pc"
    )
    found = engine_plan.plan_releases(requests, [looked("aaa"), looked("bbb", root="/q"), looked("ccc", root="/c")])
    assert [each["ccache_dir"] for each in found] == ["/home/pi/cross/ccache", "/home/pi/cross/ccache", "/d"]


def test_each_build_host_is_named_once() -> None:
    requests = [
        request("pi-01"),
        request("pi-02", build_host="nas"),
        request("pi-03"),
        request("pi-04", build_host="nas"),
    ]
    assert engine_plan.build_hosts(requests) == ["pc", "nas"]
    assert engine_plan.without_plan(requests, {}) == ["pi-01", "pi-02"]
    assert engine_plan.without_plan(requests, {"pc": {"releases": []}}) == ["pi-02"]


def test_hosts_of_a_play_are_read_from_facts(plugin: Any) -> None:
    engine = plugin("filter", "engine")
    hostvars: dict[str, Any] = {
        "pi-01": {"ik_llama_build_request": request("pi-01")},
        "pi-02": {"ik_llama_build_request": request("pi-02", build_host="nas")},
        "pi-03": {},
        "pc": {"ik_llama_build_plan": {"releases": []}},
        "nas": {},
    }
    assert engine.engine_build_hosts(hostvars, hostvars) == ["pc", "nas"]
    assert engine.engine_hosts_that_ask(hostvars, hostvars) == ["pi-02"]
    # As in --syntax-check: nothing is known yet.
    assert engine.engine_build_hosts(["pi-01", "localhost"], {}) == []
    assert engine.engine_hosts_that_ask(["pi-01", "localhost"], {}) == []


def test_hosts_whose_names_differ_in_punctuation_get_their_own_requests(plugin: Any) -> None:
    hostvars: dict[str, Any] = {
        "pi-01": {"ik_llama_build_request": request("pi-01", build_host="pc-1")},
        "pi-02": {"ik_llama_build_request": request("pi-02", build_host="pc_1")},
        "pc-1": {},
        "pc_1": {},
    }
    (found,) = plugin("filter", "engine").engine_requests(hostvars, "pc_1")
    assert found["wanted_by"] == ["pi-02"]
