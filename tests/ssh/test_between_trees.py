"""What a tree in a stage lacks, on listings."""

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from runpod_ssh.between_trees import find_rest, render_last, split_small
from runpod_ssh.manifests import FILE, FOLDER, LINK, Entry, Manifest

NAMES = st.sampled_from(["a", "b", "a/c", "a/d", "a/c/e", "it's"])
ENTRIES = st.one_of(
    st.builds(Entry, st.just(FILE), st.just(0o644), st.integers(0, 9), st.just(7)),
    st.just(Entry(FOLDER, 0o755)),
    st.just(Entry(LINK, link="a")),
)


def whole(names: dict[str, Entry]) -> Manifest:
    """Return a listing in which everything stands in a folder."""
    found: dict[str, Entry] = {}
    for path in sorted(names):
        above = path.rpartition("/")[0]
        if not above or (above in found and found[above].kind == FOLDER):
            found[path] = names[path]
    return found


TREES = st.dictionaries(NAMES, ENTRIES).map(whole)


@given(TREES, TREES)
def test_what_is_left_and_what_is_sent_make_the_files_of_the_source(
    source: Manifest, there: Manifest
) -> None:
    rest = find_rest(source, there, large_bytes=5)

    gone = tuple(f"{path}/" for path in rest.extras)
    left = {
        path: entry
        for path, entry in there.items()
        if path not in rest.extras and not path.startswith(gone)
    }
    files = {p: e for p, e in source.items() if e.kind == FILE}
    sent = {path: files[path] for path in (*rest.small, *rest.large)}
    kept = {p: e for p, e in left.items() if e.kind == FILE and p not in sent}
    assert {**kept, **sent} == files
    assert rest.there_bytes == sum(entry.size_bytes for entry in kept.values())
    assert all(source[path].kind == FOLDER for path in left if path not in files)


@given(st.lists(st.text("a'b", min_size=1, max_size=9000), unique=True, max_size=40))
def test_parts_hold_all_files_once_and_fit_one_command(names: list[str]) -> None:
    source = {name: Entry(FILE, 0o644, 30 * 1024 * 1024, 7) for name in names}

    parts = list(split_small(find_rest(source, {}, large_bytes=2**40), source))

    assert [name for part in parts for name in part] == names
    for part in parts:
        quoted = sum(len(name) + 3 * name.count("'") + 5 for name in part)
        assert len(part) == 1 or (quoted <= 64 * 1024 and len(part) <= 2)


def test_closed_folder_is_closed_after_what_is_in_it() -> None:
    source = {
        "top": Entry(FOLDER, 0o500),
        "top/in": Entry(FOLDER, 0o555),
        "top/in/link": Entry(LINK, link="x"),
    }

    stream = io.BytesIO(render_last(source, 0o750, 7))

    with tarfile.open(fileobj=stream) as archive:
        told = [(member.name, member.mode) for member in archive]
    assert told == [
        ("./top/in/link", 0o777),
        ("./top/in", 0o555),
        ("./top", 0o500),
        (".", 0o750),
    ]
