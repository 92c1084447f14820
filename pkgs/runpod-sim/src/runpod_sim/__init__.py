"""A local RunPod and GitHub: API, real SSH pods, prices, faults and a clock.

What stands here meets the other packages on the wire alone. It must not import any of
them, so that one mistake cannot sit on both sides of a test.
"""

__all__: list[str] = []
