"""Pictures of log-mel spectrograms; the only Pillow import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hgs_cli.palette import COLOURS, RANGE_DB
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, SAMPLE_RATE

BAND_PIXELS = 3
PANEL_PIXELS = 480  # width of a panel, whatever the sound's length
MARGIN = 36

_COLOURS = np.array(COLOURS, float)
_FREQUENCY_LABELS = ((100.0, "100 Hz"), (1000.0, "1 kHz"), (5000.0, "5 kHz"), (15000.0, "15 kHz"))


def draw_spectrograms(path: Path, panels: Sequence[tuple[str, Tensor]], filters: Tensor) -> None:
    """Write a PNG of log-mels side by side, in place, all on one scale of brightness.

    Args:
        path: The picture; `outputs.OutputSet` gives the path of a file put aside.
        panels: Title and log-mel (N_MELS, T) of each, of one size.
        filters: Mel filters, (n_freqs, N_MELS): they tell the frequency of a band.
    """
    top_db = max(float(mel.max()) for _, mel in panels) * DB_PER_UNIT
    n_mels, n_frames = panels[0][1].shape
    bins_hz = np.linspace(0.0, SAMPLE_RATE / 2, filters.shape[0])
    centres_hz = bins_hz @ filters.double().numpy() / filters.double().numpy().sum(axis=0)
    width, height = PANEL_PIXELS, n_mels * BAND_PIXELS
    picture = Image.new("RGB", (len(panels) * (width + MARGIN) + MARGIN, height + 2 * MARGIN), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14)
    for index, (title, mel) in enumerate(panels):
        left = MARGIN + index * (width + MARGIN)
        pixels = _colour((mel.flip(0).double().numpy() * DB_PER_UNIT - top_db) / RANGE_DB + 1.0)
        picture.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, MARGIN))
        draw.text((left, MARGIN - 22), title, fill=(0, 0, 0), font=font)
        for hz, label in _FREQUENCY_LABELS:
            band = float(np.interp(hz, centres_hz, np.arange(n_mels)))
            row = MARGIN + round((n_mels - 0.5 - band) * BAND_PIXELS)
            draw.line((left - 5, row, left, row), fill=(0, 0, 0))
            draw.text((left + 4, row - 8), label, fill=(255, 255, 255), font=font)
        seconds = n_frames * HOP_LENGTH / SAMPLE_RATE
        step = 1.0 if seconds > 2.0 else 0.2 if seconds > 0.4 else 0.05
        for tick in range(int(seconds / step) + 1):
            column = left + round(tick * step / seconds * width)
            draw.line((column, MARGIN + height, column, MARGIN + height + 5), fill=(0, 0, 0))
            draw.text((column - 4, MARGIN + height + 8), f"{tick * step:g} s", fill=(0, 0, 0), font=font)
    picture.save(path, format="PNG")


def _colour(brightness: np.ndarray) -> np.ndarray:
    """Colours of values 0 … 1, clamped: (..., 3), 8 bits."""
    position = np.clip(brightness, 0.0, 1.0) * (len(_COLOURS) - 1)
    low = np.minimum(position.astype(int), len(_COLOURS) - 2)
    fraction = (position - low)[..., None]
    colours: np.ndarray = _COLOURS[low] * (1.0 - fraction) + _COLOURS[low + 1] * fraction
    return colours.round().astype(np.uint8)
