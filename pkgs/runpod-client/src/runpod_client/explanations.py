"""How a choice among offers looks, for `--explain`: a document and a sheet; pure."""

from collections.abc import Sequence
from typing import Any

from runpod_client.choice import NOT_ASKED_FOR, Choice
from runpod_client.prices import render_usd
from runpod_client.sheets import Cell, Sheet


def choice_document(choice: Choice) -> dict[str, Any]:
    """Return a choice for programs, candidates best first."""
    rows = zip(choice.candidates, choice.offers, choice.notes, strict=True)
    return {
        "candidates": [
            {
                "gpu_type": placement.gpu_type,
                "display_name": offer.display_name,
                "gpu_count": placement.gpu_count,
                "cloud_type": placement.cloud_type,
                "data_center_ids": list(placement.data_center_ids),
                "stock": offer.stock,
                "bid_usd_per_gpu_hour": placement.bid_usd_per_gpu_hour,
                "price_usd_per_hour": placement.price_usd_per_hour,
                "note": note,
            }
            for placement, offer, note in rows
        ],
        "rejected": [
            {
                "gpu_type": rejection.offer.gpu_type,
                "display_name": rejection.offer.display_name,
                "cloud_type": rejection.offer.cloud_type,
                "reason": rejection.reason,
            }
            for rejection in choice.rejected
        ],
    }


def choices_sheet(choices: Sequence[Choice]) -> Sheet:
    """Return the choices at a place and its fallbacks for people, one after another.

    The candidates with their rank, then the others and why they will not do; offers of
    GPUs nobody asked for are only counted.
    """
    rows: list[Sequence[str | Cell]] = []
    for number, choice in enumerate(choices, start=1):
        place = f"{number}." if len(choices) > 1 else ""
        rows += [[place + str(row[0]), *row[1:]] for row in _choice_rows(choice)]
    return Sheet(
        headings=(">", "GPU", "CLOUD", "STOCK", ">$/H", "WHY"),
        rows=rows,
        empty="RunPod offers no GPUs at all now.",
    )


def _choice_rows(choice: Choice) -> list[list[str | Cell]]:
    found = zip(choice.candidates, choice.offers, choice.notes, strict=True)
    candidates: list[list[str | Cell]] = [
        [
            str(number),
            f"{offer.display_name} \N{MULTIPLICATION SIGN} {placement.gpu_count}",
            placement.cloud_type,
            offer.stock,
            render_usd(placement.price_usd_per_hour),
            note,
        ]
        for number, (placement, offer, note) in enumerate(found, start=1)
    ]
    rejected: list[list[str | Cell]] = [
        [
            "-",
            Cell(rejection.offer.display_name, "dim"),
            rejection.offer.cloud_type,
            rejection.offer.stock,
            "-",
            Cell(rejection.reason, "dim"),
        ]
        for rejection in choice.rejected
        if rejection.reason != NOT_ASKED_FOR
    ]
    others = len(choice.rejected) - len(rejected)
    if others and (candidates or rejected):
        # a person who named GPUs does not want to read of every other one
        text = f"{others} other offer{'s' * (others != 1)}"
        why = Cell(NOT_ASKED_FOR, "dim")
        rejected.append(["-", Cell(text, "dim"), "", "", "-", why])
    return [*candidates, *rejected]
