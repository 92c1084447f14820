"""How long to wait after failures in a row; pure."""

from datetime import timedelta

# after that many failures in a row; further ones wait for PAUSE_SECONDS
BACK_OFF_SECONDS = (0, 5, 10, 20, 40, 80)
PAUSE_SECONDS = 900


def find_back_off(failures: int, *, is_bounded: bool = True) -> timedelta:
    """Return how long to wait after so many failures in a row.

    Args:
        is_bounded: After the last step pause for long; else repeat that step.
    """
    if failures <= len(BACK_OFF_SECONDS):
        return timedelta(seconds=BACK_OFF_SECONDS[max(failures - 1, 0)])
    seconds = PAUSE_SECONDS if is_bounded else BACK_OFF_SECONDS[-1]
    return timedelta(seconds=seconds)
