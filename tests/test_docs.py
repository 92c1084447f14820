"""The documentation says what the programs do: generated pages are current, and what the README prints works."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_generated_pages_are_what_the_programs_say() -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("pkgs/*/README.md"),
    ]

    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_first_screen_of_the_readme_says_what_can_cost_money() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:50]

    text = "\n".join(first_screen)
    assert "./scripts/demo" in text
    assert "./scripts/test" in text
    assert "## What can cost money" in text
