"""Pictures of waveforms and log-mel spectrograms; the only Pillow imports, made when one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hgs_cli.export.palette import COLOURS, RANGE_DB
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, SAMPLE_RATE


@dataclass(frozen=True)
class Layout:
    """Sizes in a picture, in pixels."""

    band_pixels: int = 3  # height of a mel band
    panel_pixels: int = 480  # width of a panel, whatever the sound's length
    wave_pixels: int = 96  # height of a waveform
    sheet_columns: int = 4  # panels beside each other
    bar_pixels: int = 22  # height of a bar
    key_pixels: int = 40  # height of a row of keys
    margin: int = 36  # around panels


LAYOUT = Layout()


SILENT_LEVEL = -1.0  # of a log-mel

_COLOURS = np.array(COLOURS, float)
_WAVE_COLOUR = COLOURS[2]
_FREQUENCY_LABELS = ((100.0, "100 Hz"), (1000.0, "1 kHz"), (5000.0, "5 kHz"), (15000.0, "15 kHz"))


@dataclass(frozen=True)
class Panel:
    """A sound as `draw_sheet` shows it."""

    title: str  # above it
    audio: Tensor  # mono at SAMPLE_RATE, (T,)
    mel: Tensor  # its log-mel, (N_MELS, n_frames); frames after the sound's end are not drawn


@dataclass(frozen=True)
class KeyMap:
    """Which recording carries which key."""

    title: str  # above it
    carriers: Sequence[str]  # of every key, from low to high, the recording's name
    shares: Sequence[float]  # what the recording on the other side says in it, 0 at known keys … 1 / 2


def spread(n_items: int, most: int) -> list[int]:
    """Indices of at most so many items, two or more, that lie evenly from the first to the last."""
    if n_items <= most:
        return list(range(n_items))
    return [round(index * (n_items - 1) / (most - 1)) for index in range(most)]


def draw_spectrograms(path: Path, panels: Sequence[tuple[str, Tensor]], filters: Tensor) -> None:
    """Write a PNG of log-mels side by side, in place, all on one scale of brightness.

    Args:
        path: The picture; `files.atomic.OutputSet` gives the path of a file put aside.
        panels: Title and log-mel (N_MELS, T) of each, of one size.
        filters: Mel filters, (n_freqs, N_MELS): they tell the frequency of a band.
    """
    drawing = _Drawing(len(panels), 1, panels[0][1].shape[0] * LAYOUT.band_pixels, [mel for _, mel in panels], filters)
    for index, (title, mel) in enumerate(panels):
        left, top = drawing.place(index)
        drawing.title(left, top, title)
        drawing.spectrogram(left, top, mel)
    drawing.picture.save(path, format="PNG")


def draw_sheet(path: Path, panels: Sequence[Panel], filters: Tensor, maps: Sequence[KeyMap] = ()) -> None:
    """Write a PNG of sounds, waveform above log-mel, in place, on one scale of time, level and brightness.

    Args:
        path: The picture; `files.atomic.OutputSet` gives the path of a file put aside.
        panels: The sounds, LAYOUT.sheet_columns in a row.
        filters: Mel filters, (n_freqs, N_MELS): they tell the frequency of a band.
        maps: Rows of keys below.
    """
    n_samples = max(panel.audio.shape[0] for panel in panels)
    n_frames = n_samples // HOP_LENGTH + 1
    loudest = max(float(panel.audio.abs().max()) for panel in panels)
    mels = []
    for panel in panels:
        own = panel.mel[:, : panel.audio.shape[0] // HOP_LENGTH + 1]
        mels.append(torch.nn.functional.pad(own, (0, n_frames - own.shape[1]), value=SILENT_LEVEL))
    columns = min(LAYOUT.sheet_columns, len(panels))
    height = LAYOUT.wave_pixels + mels[0].shape[0] * LAYOUT.band_pixels
    drawing = _Drawing(columns, math.ceil(len(panels) / columns), height, mels, filters, len(maps))
    for index, key_map in enumerate(maps):
        drawing.keys(index, key_map)
    for index, (panel, mel) in enumerate(zip(panels, mels, strict=True)):
        left, top = drawing.place(index)
        drawing.title(left, top, panel.title)
        drawing.wave(left, top, panel.audio, n_samples, loudest)
        drawing.spectrogram(left, top + LAYOUT.wave_pixels, mel)
    drawing.picture.save(path, format="PNG")


def draw_bars(path: Path, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> None:
    """Write a PNG of named bars, in place, each group on a scale of its own.

    Args:
        path: The picture; `files.atomic.OutputSet` gives the path of a file put aside.
        groups: Title, and label and value of every bar.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows = sum(len(bars) + 2 for _, bars in groups)
    label, width = 340, LAYOUT.panel_pixels
    picture = Image.new(
        "RGB", (label + width + 3 * LAYOUT.margin, rows * LAYOUT.bar_pixels + LAYOUT.margin), (255, 255, 255)
    )
    draw, font, top = ImageDraw.Draw(picture), ImageFont.load_default(14), LAYOUT.margin // 2
    for title, bars in groups:
        draw.text((LAYOUT.margin, top), title, fill=_WAVE_COLOUR, font=font)
        longest = max(value for _, value in bars)
        for name, value in bars:
            top += LAYOUT.bar_pixels
            draw.text((LAYOUT.margin, top), name, fill=(0, 0, 0), font=font)
            end = label + LAYOUT.margin + round(width * value / max(longest, 1e-9))
            draw.rectangle((label + LAYOUT.margin, top + 2, end, top + LAYOUT.bar_pixels - 6), fill=_WAVE_COLOUR)
            draw.text((end + 6, top), f"{value:.0f}" if value >= 100.0 else f"{value:.3g}", fill=(0, 0, 0), font=font)
        top += 2 * LAYOUT.bar_pixels
    picture.save(path, format="PNG")


class _Drawing:
    """A white sheet with room for panels in rows.

    Args:
        columns: Panels in a row.
        rows: Of panels.
        height: Of a panel, in pixels, without its title and ticks.
        mels: Log-mels of all panels, which share one scale of brightness.
        filters: Mel filters, (n_freqs, N_MELS).
        maps: Rows of keys below the panels.
    """

    def __init__(
        self, columns: int, rows: int, height: int, mels: Sequence[Tensor], filters: Tensor, maps: int = 0
    ) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.columns, self.height, self.below = columns, height, rows * (height + 2 * LAYOUT.margin)
        size = (
            columns * (LAYOUT.panel_pixels + LAYOUT.margin) + LAYOUT.margin,
            self.below + maps * (LAYOUT.key_pixels + 2 * LAYOUT.margin),
        )
        self.picture = Image.new("RGB", size, (255, 255, 255))
        self.draw = ImageDraw.Draw(self.picture)
        self.font = ImageFont.load_default(14)
        self.top_db = max(float(mel.max()) for mel in mels) * DB_PER_UNIT
        bins_hz = np.linspace(0.0, SAMPLE_RATE / 2, filters.shape[0])
        self.centres_hz = bins_hz @ filters.double().numpy() / filters.double().numpy().sum(axis=0)

    def place(self, index: int) -> tuple[int, int]:
        """Left and upper edge of a panel."""
        row, column = divmod(index, self.columns)
        return LAYOUT.margin + column * (LAYOUT.panel_pixels + LAYOUT.margin), LAYOUT.margin + row * (
            self.height + 2 * LAYOUT.margin
        )

    def title(self, left: int, top: int, title: str) -> None:
        self.draw.text((left, top - 22), title, fill=(0, 0, 0), font=self.font)

    def wave(self, left: int, top: int, audio: Tensor, n_samples: int, loudest: float) -> None:
        """Extremes of audio (T,) column by column; the panel's width is n_samples, its height twice `loudest`."""
        samples = audio.double().numpy()
        middle, half = top + LAYOUT.wave_pixels / 2, (LAYOUT.wave_pixels / 2 - 4) / max(loudest, 1e-9)
        edges = np.arange(LAYOUT.panel_pixels + 1) * n_samples // LAYOUT.panel_pixels
        for column, (begin, end) in enumerate(pairwise(edges)):
            part = samples[begin : max(end, begin + 1)]
            if not part.size:
                break
            high, low = (round(middle - half * level) for level in (part.max(), part.min()))
            self.draw.line((left + column, high, left + column, low), fill=_WAVE_COLOUR)

    def keys(self, index: int, key_map: KeyMap) -> None:
        """A row of keys, those of one recording in one colour, the paler the more its neighbour says."""
        top = self.below + index * (LAYOUT.key_pixels + 2 * LAYOUT.margin) + LAYOUT.margin
        self.title(LAYOUT.margin, top, key_map.title)
        width = (self.picture.width - 2 * LAYOUT.margin) / len(key_map.carriers)
        colours, written = (_COLOURS[1], _COLOURS[3]), 0.0
        names = list(dict.fromkeys(key_map.carriers))
        for place, (name, share) in enumerate(zip(key_map.carriers, key_map.shares, strict=True)):
            left, right = (round(LAYOUT.margin + edge * width) for edge in (place, place + 1))
            colour = colours[names.index(name) % 2] * (1.0 - share) + 255.0 * share
            self.draw.rectangle((left, top, right - 2, top + LAYOUT.key_pixels), fill=tuple(colour.round().astype(int)))
            first = not place or key_map.carriers[place - 1] != name
            if first and left >= written:  # where there is room
                self.draw.text((left, top + LAYOUT.key_pixels + 4), name, fill=(0, 0, 0), font=self.font)
                written = left + self.draw.textlength(name, font=self.font) + 8.0

    def spectrogram(self, left: int, top: int, mel: Tensor) -> None:
        """A log-mel (N_MELS, n_frames) with its frequencies and, below it, its time."""
        from PIL import Image

        n_mels, n_frames = mel.shape
        width, height = LAYOUT.panel_pixels, n_mels * LAYOUT.band_pixels
        pixels = _colour((mel.flip(0).double().numpy() * DB_PER_UNIT - self.top_db) / RANGE_DB + 1.0)
        self.picture.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, top))
        for hz, label in _FREQUENCY_LABELS:
            band = float(np.interp(hz, self.centres_hz, np.arange(n_mels)))
            row = top + round((n_mels - 0.5 - band) * LAYOUT.band_pixels)
            self.draw.line((left - 5, row, left, row), fill=(0, 0, 0))
            self.draw.text((left + 4, row - 8), label, fill=(255, 255, 255), font=self.font)
        seconds = n_frames * HOP_LENGTH / SAMPLE_RATE
        step = 1.0 if seconds > 2.0 else 0.2 if seconds > 0.4 else 0.05
        for tick in range(int(seconds / step) + 1):
            column = left + round(tick * step / seconds * width)
            self.draw.line((column, top + height, column, top + height + 5), fill=(0, 0, 0))
            self.draw.text((column - 4, top + height + 8), f"{tick * step:g} s", fill=(0, 0, 0), font=self.font)


def _colour(brightness: np.ndarray) -> np.ndarray:
    """Colours of values 0 … 1, clamped: (..., 3), 8 bits."""
    position = np.clip(brightness, 0.0, 1.0) * (len(_COLOURS) - 1)
    low = np.minimum(position.astype(int), len(_COLOURS) - 2)
    fraction = (position - low)[..., None]
    colours: np.ndarray = _COLOURS[low] * (1.0 - fraction) + _COLOURS[low + 1] * fraction
    return colours.round().astype(np.uint8)
