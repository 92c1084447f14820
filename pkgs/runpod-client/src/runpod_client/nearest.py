"""The valid name a mistyped one was probably meant to be; pure text."""

from collections.abc import Iterable


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, capitals aside, None if none is."""
    import difflib  # noqa: PLC0415  # 3 ms, needed only to explain a mistake

    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[near[0]] if near else None


def render_nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a mistyped name: the nearest known one, else all of them."""
    names = list(known)
    near = find_nearest(name, names)
    if near is not None:
        return f"Did you mean {near!r}?"
    return f"Known here: {', '.join(names)}." if names else ""
