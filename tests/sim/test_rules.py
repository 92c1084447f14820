"""Every rule the simulator follows is documented with its source, and every documented rule is followed."""

import re
from pathlib import Path

from runpod_sim.faults import Kind

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "pkgs" / "runpod-sim" / "src" / "runpod_sim"


def test_cited_rules_and_documented_rules_are_the_same() -> None:
    cited = {
        rule
        for path in SOURCES.glob("*.py")
        for rule in re.findall(r"\bSIM-[A-Z]+-\d+\b", path.read_text())
    }
    rows = re.findall(
        r"^\| (SIM-[A-Z]+-\d+) \| .+ \| (.+) \|$",
        (ROOT / "docs" / "runpod-api.md").read_text(),
        re.MULTILINE,
    )

    assert cited == {rule for rule, _ in rows}
    assert len(rows) == len({rule for rule, _ in rows})
    assert all(source.strip() for _, source in rows)


def test_every_kind_of_fault_is_explained() -> None:
    readme = (SOURCES.parents[1] / "README.md").read_text()
    table = readme.partition("## Faults")[2].partition("## Clock")[0]

    explained = re.findall(r"`([a-z_0-9]+)`", table)

    assert {kind.value for kind in Kind} <= set(explained)
    assert len(explained) == len(set(explained))
