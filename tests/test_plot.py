"""Pictures show the sounds they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tone
from PIL import Image

from hgs_cli.audio.mel import LogMel
from hgs_cli.export.plot import LAYOUT, Panel, draw_sheet, draw_spectrograms, spread
from hgs_cli.spectrum import N_MELS

LOG_MEL = LogMel()
HEIGHT = LAYOUT.wave_pixels + N_MELS * LAYOUT.band_pixels


def panel(title: str, f0_hz: float = 440.0, seconds: float = 1.0, gain: float = 1.0) -> Panel:
    audio = torch.from_numpy(gain * tone(f0_hz, seconds, n_harmonics=1))
    return Panel(title, audio, LOG_MEL(audio[None])[0])


def crop(picture: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Waveform and spectrogram of a panel of a sheet, (height, width, 3) each."""
    row, column = divmod(index, LAYOUT.sheet_columns)
    left, top = (
        LAYOUT.margin + column * (LAYOUT.panel_pixels + LAYOUT.margin),
        LAYOUT.margin + row * (HEIGHT + 2 * LAYOUT.margin),
    )
    whole = picture[top : top + HEIGHT, left : left + LAYOUT.panel_pixels]
    return whole[: LAYOUT.wave_pixels], whole[LAYOUT.wave_pixels :]


def sheet(path: Path, panels: list[Panel]) -> np.ndarray:
    draw_sheet(path, panels, LOG_MEL.filters)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture).astype(int)


def test_a_sheet_shows_every_sound_with_its_pitch_and_length(tmp_path: Path) -> None:
    pitches_hz = (200.0, 400.0, 800.0, 1600.0, 3200.0)
    seconds = (2.0, 0.5, 1.0, 2.0, 1.5)
    panels = [panel(f"{hz} Hz", hz, length) for hz, length in zip(pitches_hz, seconds, strict=True)]
    picture = sheet(tmp_path / "sheet.png", panels)
    assert picture.shape == (
        2 * (HEIGHT + 2 * LAYOUT.margin),
        LAYOUT.sheet_columns * (LAYOUT.panel_pixels + LAYOUT.margin) + LAYOUT.margin,
        3,
    )
    rows = []
    for index, length in enumerate(seconds):
        wave, mel = crop(picture, index)
        drawn = np.flatnonzero((wave.sum(axis=2) < 3 * 255).any(axis=0))
        assert drawn[0] == 0
        assert drawn[-1] + 1 == pytest.approx(length / 2.0 * LAYOUT.panel_pixels, abs=2)
        rows.append(int(mel[:, 40].sum(axis=1).argmax()))  # right of the labels' ticks, left of nothing
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) == len(rows)


def test_a_sheet_has_one_scale_of_level_and_brightness(tmp_path: Path) -> None:
    picture = sheet(tmp_path / "sheet.png", [panel("loud"), panel("soft", gain=0.1)])
    heights, brightnesses = [], []
    for index in (0, 1):
        wave, mel = crop(picture, index)
        heights.append((wave.sum(axis=2) < 3 * 255).any(axis=1).sum())
        brightnesses.append(mel[:, 100:].sum(axis=2).max())
    assert heights[0] == pytest.approx(LAYOUT.wave_pixels - 8, abs=6)
    assert heights[1] == pytest.approx(heights[0] / 10, abs=3)
    assert brightnesses[1] < brightnesses[0]


@pytest.mark.parametrize("seconds", [0.01, 4.0])
def test_a_sheet_of_one_sound_is_as_wide_as_it(tmp_path: Path, seconds: float) -> None:
    picture = sheet(tmp_path / "sheet.png", [panel("one", seconds=seconds)])
    assert picture.shape == (HEIGHT + 2 * LAYOUT.margin, LAYOUT.panel_pixels + 2 * LAYOUT.margin, 3)


def test_spectrograms_stand_side_by_side_with_the_loudest_band_brightest(tmp_path: Path) -> None:
    low, high = torch.full((N_MELS, 50), -1.0), torch.full((N_MELS, 50), -1.0)
    low[10], high[100] = 1.0, 0.5
    path = tmp_path / "spectrograms.png"
    draw_spectrograms(path, [("low", low), ("high", high)], LOG_MEL.filters)
    with Image.open(path) as opened:
        picture = np.asarray(opened).astype(int)
    for index, band in enumerate((10, 100)):
        column = LAYOUT.margin + index * (LAYOUT.panel_pixels + LAYOUT.margin) + LAYOUT.panel_pixels // 2
        brightness = picture[LAYOUT.margin : LAYOUT.margin + N_MELS * LAYOUT.band_pixels, column].sum(axis=1)
        assert (N_MELS - 1 - band) * LAYOUT.band_pixels <= brightness.argmax() < (N_MELS - band) * LAYOUT.band_pixels


@pytest.mark.parametrize(("n_items", "most"), [(1, 6), (5, 6), (6, 6), (7, 6), (25, 6), (128, 2)])
def test_chosen_notes_lie_evenly_from_the_first_to_the_last(n_items: int, most: int) -> None:
    chosen = spread(n_items, most)
    assert len(chosen) == min(n_items, most)
    assert (chosen[0], chosen[-1]) == (0, n_items - 1)
    gaps = np.diff(chosen)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
