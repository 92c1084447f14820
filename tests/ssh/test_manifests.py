"""Plans of a sync as data: carried out on a listing they give what was asked for."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_client import ConfigError
from runpod_ssh import TransferError
from runpod_ssh.ignoring import Excludes, hide, parse_excludes, parse_lines
from runpod_ssh.listings import parse_listing
from runpod_ssh.manifests import (
    FILE,
    FOLDER,
    LINK,
    OTHER,
    Entry,
    Manifest,
    Plan,
    compare,
    find_doubtful,
)
from runpod_ssh.sync_steps import find_moves, split_batches

NAMES = st.sampled_from(["a", "b", "c.log", "keep", "ünï", "x y"])
FILES = st.tuples(
    st.sampled_from([0o644, 0o755, 0o400]), st.integers(0, 3), st.integers(0, 3)
).map(lambda facts: Entry(FILE, *facts))
LINKS = st.sampled_from(["a", "../b"]).map(lambda target: Entry(LINK, link=target))
FOLDERS = st.sampled_from([0o755, 0o700, 0o555]).map(lambda mode: Entry(FOLDER, mode))
NOTHING: Excludes = parse_excludes(())


def build(rows: list[tuple[int, str, Entry]]) -> Manifest:
    """Return a tree: every name stands in a folder that comes before it."""
    found: dict[str, Entry] = {}
    folders = [""]
    for where, name, entry in rows:
        path = f"{folders[where % len(folders)]}/{name}".lstrip("/")
        if path not in found:
            found[path] = entry
            if entry.kind == FOLDER:
                folders.append(path)
    return found


TREES = st.lists(
    st.tuples(st.integers(0, 5), NAMES, st.one_of(FILES, LINKS, FOLDERS)), max_size=12
).map(build)


def is_empty(path: str, tree: Manifest) -> bool:
    return not any(name.startswith(f"{path}/") for name in tree)


def carry_out(plan: Plan, source: Manifest, target: Manifest) -> dict[str, Entry]:
    """Do to a listing what the plan says, as a file system would let it be done."""
    tree = dict(target)
    for path in plan.obstacles:
        assert is_empty(path, tree), f"{path} is removed before what is in it"
        del tree[path]
    for path in plan.sends:
        above = path.rpartition("/")[0]
        assert not above or tree[above].kind == FOLDER
        assert path not in tree or FOLDER not in {tree[path].kind, source[path].kind}
        tree[path] = source[path]
    for path in plan.deletes:
        if is_empty(path, tree):
            del tree[path]
        else:
            assert tree[path].kind == FOLDER
    for path, mode in plan.modes:
        tree[path] = tree[path]._replace(mode=mode)
    for path, mtime in plan.times:
        tree[path] = tree[path]._replace(mtime=mtime)
    return tree


def shown(tree: Manifest, excludes: Excludes) -> dict[str, Entry]:
    hidden = hide([(p, e.kind == FOLDER) for p, e in tree.items()], excludes)
    return {path: entry for path, entry in tree.items() if path not in hidden}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=TREES, target=TREES)
def test_plan_with_delete_makes_the_target_equal(
    source: Manifest, target: Manifest
) -> None:
    plan = compare(source, target, delete=True)

    after = carry_out(plan, source, target)

    assert after == source
    assert compare(source, after, delete=True).is_empty


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=TREES, target=TREES)
def test_plan_without_delete_keeps_what_the_source_lacks(
    source: Manifest, target: Manifest
) -> None:
    in_the_way = [
        path
        for path, entry in source.items()
        if path in target
        and target[path].kind == FOLDER != entry.kind
        and not is_empty(path, target)
    ]
    if in_the_way:
        with pytest.raises(TransferError, match="is a folder with something in it"):
            compare(source, target)
        return

    plan = compare(source, target)
    after = carry_out(plan, source, target)

    assert after == {**target, **source}
    assert not plan.deletes
    assert compare(source, after).is_empty


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    source=TREES,
    target=TREES,
    patterns=st.lists(
        st.sampled_from(["a", "*.log", "/b", "keep/", "a/b", "!a", "**/x y"]),
        max_size=3,
    ),
)
def test_what_is_excluded_is_neither_sent_nor_removed(
    source: Manifest, target: Manifest, patterns: list[str]
) -> None:
    excludes = parse_excludes(patterns)
    ours, theirs = shown(source, excludes), shown(target, excludes)
    hidden = {path: target[path] for path in target.keys() - theirs.keys()}
    plan = compare(ours, theirs, delete=True)
    in_the_way = any(not is_empty(path, hidden) for path in plan.obstacles)
    if in_the_way or hidden.keys() & plan.sends:
        return  # carried out it fails: what is excluded stays in the way

    after = carry_out(plan, ours, target)

    assert hidden.items() <= after.items()
    kept = {path for path in after if path not in ours and path not in hidden}
    assert all(not is_empty(path, hidden) for path in kept)
    assert {p: e for p, e in after.items() if p in ours} == ours


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=TREES, target=TREES, data=st.data(), checksum=st.booleans())
def test_files_that_proved_equal_get_their_facts_and_are_not_sent(
    source: Manifest, target: Manifest, data: st.DataObject, *, checksum: bool
) -> None:
    doubtful = find_doubtful(source, target, checksum=checksum)
    equal = [path for path in doubtful if data.draw(st.booleans())]

    plan = compare(source, target, delete=True, doubtful=doubtful, equal=equal)

    assert carry_out(plan, source, target) == source
    assert not set(equal) & set(plan.sends)
    assert set(doubtful) - set(equal) <= set(plan.sends)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=TREES, limit=st.integers(1, 4), size=st.integers(0, 5))
def test_batches_hold_everything_once_and_move_it_where_it_belongs(
    source: Manifest, limit: int, size: int
) -> None:
    sends = list(source)

    batches = list(split_batches(sends, source, limit_bytes=size, limit_count=limit))

    assert [path for batch in batches for path in batch.paths] == sends
    there: set[str] = {""}
    for batch in batches:
        assert len(batch.paths) <= limit
        new = {path for path in batch.paths if source[path].kind == FOLDER}
        for folder, names in find_moves(batch.paths, source).items():
            assert folder in there
            there.update(f"{folder}/{name}".lstrip("/") for name in names)
        there |= new
        carried = {path for path in batch.paths if path.rpartition("/")[0] in new}
        assert set(batch.paths) <= there | carried


def test_special_files_are_left_alone_and_told() -> None:
    source = {"socket": Entry(OTHER), "file": Entry(FILE, 0o644)}

    plan = compare(source, {"socket": Entry(FILE, 0o600, 3)}, delete=True)

    assert plan == Plan(sends=("file",), skipped=("socket",))


def test_changed_permissions_alone_send_nothing() -> None:
    before = {"a": Entry(FILE, 0o644, 5, 9), "d": Entry(FOLDER, 0o755)}
    after = {path: entry._replace(mode=0o700) for path, entry in before.items()}

    plan = compare(after, before)

    assert plan == Plan(modes=(("a", 0o700), ("d", 0o700)))


# every row was checked with git check-ignore
@pytest.mark.parametrize(
    ("patterns", "hidden"),
    [
        (["*.pyc"], {"a.pyc", "deep/b.pyc"}),
        (["/data"], {"data", "data/x"}),
        (["data"], {"data", "data/x", "deep/data", "deep/data/y"}),
        (["deep/data"], {"deep/data", "deep/data/y"}),
        (["data/"], {"data", "data/x", "deep/data", "deep/data/y"}),
        (["a.pyc/"], set()),
        (["deep/*"], {"deep/b.pyc", "deep/data", "deep/data/y", "deep/[x]"}),
        (["deep/**"], {"deep/b.pyc", "deep/data", "deep/data/y", "deep/[x]"}),
        (["**/y"], {"deep/data/y"}),
        (["deep/**/y"], {"deep/data/y"}),
        (["*.pyc", "!a.pyc"], {"deep/b.pyc"}),
        (["deep", "!deep/data"], {
            "deep", "deep/b.pyc", "deep/data", "deep/data/y", "deep/[x]"
        }),
        (["[ab].py?"], {"a.pyc", "deep/b.pyc"}),
        (["[!a].pyc"], {"deep/b.pyc"}),
        (["\\[x]"], {"deep/[x]"}),
        (["[]x[]"], {"data/x"}),
        (["[x"], set()),
    ],
)  # fmt: skip
def test_patterns_mean_what_they_mean_in_a_gitignore(
    patterns: list[str], hidden: set[str]
) -> None:
    paths = [
        ("a.pyc", False), ("data", True), ("data/x", False), ("deep", True),
        ("deep/b.pyc", False), ("deep/data", True), ("deep/data/y", False),
        ("deep/[x]", False),
    ]  # fmt: skip

    assert hide(paths, parse_excludes(patterns)) == hidden


def test_own_temporary_names_are_always_left_out() -> None:
    paths = [(".runpod-ssh-x", True), (".runpod-ssh-x/a", False), ("b", False)]

    assert hide(paths, NOTHING) == {".runpod-ssh-x", ".runpod-ssh-x/a"}


def test_find_is_told_only_names_no_later_pattern_takes_back() -> None:
    plain = parse_excludes(["node_modules", "*.pyc", "/top", "[ab]", "a?"])
    taken_back = parse_excludes(["*.pyc", "!keep.pyc"])

    assert plain.plain_names == (".runpod-ssh-*", "node_modules", "*.pyc")
    assert taken_back.plain_names == (".runpod-ssh-*",)


@pytest.mark.parametrize("text", ["", "/", "!", "//", "!/"])
def test_pattern_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_excludes([text])


def test_lines_of_a_gitignore_are_read_without_comments_and_trailing_blanks() -> None:
    text = "# comment\n\n*.pyc  \n\\#odd\nspace\\ \n"

    assert parse_lines(text) == ("*.pyc", "\\#odd", "space\\ ")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"absent\n", None),
        (b"find\nd755 4096 1.5 \0", {}),
        (
            b"find\nd755 4096 1.5 \0f4755 7 1600000000.9000000000 a b\n\0"
            b"l777 3 5.0 l\0../x\0d700 0 7.0 d\0p644 0 1.0 d/p\0"
            b"f644 1 -0.5000000000 d/\xe9\0",
            {
                "a b\n": Entry(FILE, 0o755, 7, 1_600_000_000),
                "l": Entry(LINK, link="../x"),
                "d": Entry(FOLDER, 0o700),
                "d/p": Entry(OTHER),
                "d/\udce9": Entry(FILE, 0o644, 1, -1),
            },
        ),
        (
            b"stat\n41ed 60 9 .\n81a4 7 1600000000 ./a b\n41c0 40 8 ./d\n\0"
            b"a1ff 4 7\n\0./l\0x\ny\0" b"8180 5 6\n\0./d/new\nline\0\0",
            {
                "a b": Entry(FILE, 0o644, 7, 1_600_000_000),
                "d": Entry(FOLDER, 0o700),
                "l": Entry(LINK, link="x\ny"),
                "d/new\nline": Entry(FILE, 0o600, 5, 6),
            },
        ),
    ],
)  # fmt: skip
def test_listing_of_either_dialect_is_read(
    output: bytes, expected: Manifest | None
) -> None:
    assert parse_listing(output, NOTHING) == expected


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"ls\n",
        b"find\nf644 1 1.0 a",
        b"find\nf644 1 1.0 ../a\0",
        b"find\nf644 1 1.0 /etc/passwd\0",
        b"find\nd755 1 1.0 d\0f644 1 1.0 d/..\0",
        b"find\nl777 1 1.0 d\0/etc\0f644 1 1.0 d/passwd\0",
        b"find\nf644 1 1.0 nowhere/a\0",
        b"find\nl777 1 1.0 d\0",
        b"stat\n81a4 7 160 ./a\n",
        b"stat\n81a4 7 ./a\n\0",
        b"find\nf9 x 1.0 a\0",
    ],
)
def test_listing_that_is_cut_off_or_leads_outside_is_refused(output: bytes) -> None:
    with pytest.raises(TransferError, match="makes no sense"):
        parse_listing(output, NOTHING)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(output=st.binary(max_size=200), dialect=st.sampled_from([b"find", b"stat"]))
def test_garbage_in_a_listing_is_refused_and_nothing_else(
    output: bytes, dialect: bytes
) -> None:
    try:
        found = parse_listing(dialect + b"\n" + output, NOTHING)
    except TransferError:
        return

    assert found is not None
    assert all(".." not in path.split("/") for path in found)


def test_plan_for_ten_thousand_equal_files_counts_them() -> None:
    tree = {f"{number}": Entry(FILE, 0o644, number) for number in range(10_000)}

    plan = compare(tree, dict(tree), delete=True)

    assert plan == Plan(unchanged_count=10_000)
