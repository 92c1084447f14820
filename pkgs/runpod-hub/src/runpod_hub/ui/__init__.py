"""The dashboard: NiceGUI pages over the same board and operations as the API.

It decides nothing, loads nothing from outside, and is behind `api.guard` like all else.
"""

from runpod_hub.ui.mounting import mount

__all__ = ["mount"]
