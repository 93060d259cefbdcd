"""The colours in which pictures of sounds tell a level; imports nothing."""

from __future__ import annotations

RANGE_DB = 80.0  # from the brightest to black

# Dark blue to pale yellow in even steps of lightness, so that brightness alone tells the level.
COLOURS = ((8, 8, 24), (40, 24, 88), (104, 32, 112), (176, 56, 96), (232, 104, 64), (252, 176, 88), (255, 248, 208))
