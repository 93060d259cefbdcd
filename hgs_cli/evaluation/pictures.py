"""Spectrograms of input, target and output side by side: the worst notes, then a typical one of each instrument."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hgs_cli.evaluation.cross_pitch import render_notes
from hgs_cli.evaluation.cross_pitch_result import CrossPitchResult
from hgs_cli.evaluation.pairs import Pair
from hgs_cli.evaluation.recordings import read_note
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.export.plot import draw_spectrograms
from hgs_cli.pipeline import Model, invert, make_instrument
from hgs_cli.spectrum import HOP_LENGTH, N_FRAMES, SAMPLE_RATE

N_WORST = 10


@dataclass(frozen=True)
class Picture:
    """A note to draw."""

    path: Path  # its file; names sort from the worst on, typical notes last
    pair: Pair  # the note
    distance_db: float  # of the main row


def choose_pictures(result: CrossPitchResult, folder: Path) -> list[Picture]:
    """The N_WORST notes of the main row at other pitches than the source's, and the median one of each instrument."""
    row = result.main_row
    others = sorted((p for p in result.pairs if p.interval > 0), key=lambda pair: -pair.distance_db[row])
    named = [(f"1_worst_{rank:02d}", pair) for rank, pair in enumerate(others[:N_WORST], 1)]
    for instrument in result.instruments:
        of_it = [pair for pair in others if pair.instrument == instrument]
        named += [("2_typical", pair) for pair in of_it[len(of_it) // 2 :][:1]]
    pictures = []
    for label, pair in named:
        notes = f"{pair.source.midi:03.0f}-{pair.target.midi:03.0f}"
        distance_db = pair.distance_db[row]
        path = folder / f"{label}_{pair.instrument}_{notes}_{distance_db:04.1f}dB.png"
        pictures.append(Picture(path, pair, distance_db))
    return pictures


@torch.inference_mode()
def draw_picture(model: Model, picture: Picture, options: CrossPitchOptions, path: Path) -> None:
    """Write the PNG of a note: the recording given, the real note at the pitch asked for, and what hgs makes of it."""
    pair = picture.pair
    source, target = (read_note(note.path) for note in (pair.source, pair.target))
    inversion = invert(model, source, SAMPLE_RATE, passes=None if options.hyper else 0, start_s=0.0)
    output = render_notes(model, make_instrument(model, inversion), [pair.target.midi], options.detail, options.seed)[0]
    n_samples = min(source.shape[-1], target.shape[-1])  # what the distance compares
    n_frames = min(N_FRAMES, n_samples // HOP_LENGTH + 1)
    panels = []
    for title, audio in (
        (f"{pair.instrument} {pair.source.midi:.1f}: given", source),
        (f"{pair.target.midi:.1f}: the real note", target),
        (f"{pair.target.midi:.1f}: rendered, {picture.distance_db:.1f} dB", output),
    ):
        mel = model.log_mel(audio[None, :n_samples].to(model.device))[0, :, :n_frames].cpu()
        panels.append((title, mel - mel.max()))  # each as loud as its loudest: the distance forgives level
    draw_spectrograms(path, panels, model.log_mel.filters.cpu())
