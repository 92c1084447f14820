"""Conditional GETs: what has not changed costs no quota, and is never taken unasked."""

import requests

from runner_installer import GitHub, parse_scope
from runner_installer.github_cache import AnswerCache, Kept
from support.forge import REPOSITORY, ServedForge
from support.github_script import Script, scripted

SCOPE = parse_scope(REPOSITORY)
EMPTY = {"total_count": 0, "runners": []}
RUNNER = {"id": 5, "name": "one", "status": "online", "busy": False}


def used(forge: ServedForge) -> int:
    answer = forge.call("GET", "/rate_limit")
    return int(answer.json()["resources"]["core"]["used"])


def test_unchanged_list_costs_no_quota(forge: ServedForge, github: GitHub) -> None:
    forge.jit("one")
    github.list_runners(SCOPE)
    before = used(forge)

    lists = [github.list_runners(SCOPE) for _ in range(10)]

    assert used(forge) == before
    assert {r.name for listed in lists for r in listed} == {"one"}
    assert github.quota.unchanged == 10


def test_changed_list_is_seen_at_once(forge: ServedForge, github: GitHub) -> None:
    github.list_runners(SCOPE)

    forge.jit("one")

    assert [r.name for r in github.list_runners(SCOPE)] == ["one"]


def test_what_must_be_fresh_is_asked_without_a_tag() -> None:
    script = Script(*[(200, {"etag": '"a"'}, RUNNER)] * 2)

    with scripted(script) as github:
        github.get_runner(SCOPE, 5)
        github.get_runner(SCOPE, 5)

    assert all("If-None-Match" not in headers for _, _, headers, _ in script.requests)


def test_304_stands_for_what_was_sent_before() -> None:
    page = {"total_count": 1, "runners": [RUNNER]}
    script = Script((200, {"etag": 'W/"a"'}, page), (304, {}, b""))

    with scripted(script) as github:
        first = github.list_runners(SCOPE)
        second = github.list_runners(SCOPE)

    assert first == second
    assert script.requests[1][2]["If-None-Match"] == 'W/"a"'


def test_refused_answer_is_not_kept() -> None:
    script = Script((500, {"etag": '"bad"'}, {}), (200, {}, EMPTY), (200, {}, EMPTY))

    with scripted(script) as github:
        github.list_runners(SCOPE)
        github.list_runners(SCOPE)

    assert all("If-None-Match" not in headers for _, _, headers, _ in script.requests)


def test_cache_is_bounded_in_entries_and_those_not_used_longest_go() -> None:
    cache = AnswerCache(max_entries=2)
    for url in ("a", "b"):
        cache.keep(url, Kept(tag=url, content=b""))
    cache.find("a")

    cache.keep("c", Kept(tag="c", content=b""))

    assert [url for url in "abc" if cache.find(url)] == ["a", "c"]


def test_cache_is_bounded_in_bytes() -> None:
    cache = AnswerCache(max_bytes=10)
    cache.keep("a", Kept(tag="a", content=b"x" * 6))
    cache.keep("b", Kept(tag="b", content=b"x" * 6))
    cache.keep("huge", Kept(tag="huge", content=b"x" * 11))
    cache.keep("b", Kept(tag="b2", content=b"x" * 9))

    kept = cache.find("b")

    assert [url for url in ("a", "b", "huge") if cache.find(url)] == ["b"]
    assert kept is not None
    assert kept.tag == "b2"


def test_quota_tells_what_github_told(forge: ServedForge, github: GitHub) -> None:
    before = github.quota
    github.list_runners(SCOPE)

    after = github.quota
    told = requests.get(f"{forge.base_url}/_sim/github/state", timeout=10).json()[
        "calls"
    ]

    assert (before.remaining, before.calls) == (None, 0)
    assert (after.limit, after.remaining) == (5000, 4999)
    assert after.resets_at is not None
    assert after.calls == told == 1
