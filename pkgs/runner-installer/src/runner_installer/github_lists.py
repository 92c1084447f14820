"""GitHub's lists, which come in pages and change while they are read.

It must not know what is in a list, only that everything in it has an id.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Protocol, TypeVar
from urllib.parse import urlencode

from runner_installer.github_session import Call, GitHubSession
from runner_installer.github_wire import decode

PAGE_SIZE = 100
MAX_PAGES = 100
_READINGS = 3


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


class _Page(Protocol):
    @property
    def total_count(self) -> int: ...


PageT = TypeVar("PageT", bound=_Page)
ItemT = TypeVar("ItemT", bound=_Numbered)


def list_all(
    session: GitHubSession,
    call: Call,
    query: Mapping[str, str],
    kind: type[PageT],
    items_of: Callable[[PageT], list[ItemT]],
) -> list[ItemT]:
    """Return a whole list; it is read again where it changed in the meantime.

    What leaves an earlier page while the list is read makes something slip there from
    the next page, unseen: only the count, which each page tells, then has changed.
    """
    items: dict[int, ItemT] = {}
    for _ in range(_READINGS):
        items, totals = {}, set()
        for page in _read_pages(session, call, query, kind, items_of):
            totals.add(page.total_count)
            items |= {item.id: item for item in items_of(page)}
        if len(totals) == 1 and len(items) >= min(totals):
            break
    return list(items.values())


def _read_pages(
    session: GitHubSession,
    call: Call,
    query: Mapping[str, str],
    kind: type[PageT],
    items_of: Callable[[PageT], list[ItemT]],
) -> Iterator[PageT]:
    for number in range(1, MAX_PAGES + 1):
        words = urlencode({"per_page": PAGE_SIZE, "page": number, **query})
        answer = session.read(replace(call, path=f"{call.path}?{words}"))
        page = decode(answer, kind, call.operation)
        yield page
        is_full = len(items_of(page)) >= PAGE_SIZE
        if not is_full or number * PAGE_SIZE >= page.total_count:
            return
