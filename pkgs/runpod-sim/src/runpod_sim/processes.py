"""Counting what runs below given processes, from /proc alone."""

from runpod_sim.container_init import descendants


def count_processes(roots: list[int]) -> int:
    """Return how many processes there are: the roots and all below them."""
    return sum(1 + len(descendants(root)) for root in roots)
