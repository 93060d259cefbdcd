"""Every stage of listening to a sound and of playing it, timed alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hgs_cli.audio.hearing import hear
from hgs_cli.audio.io import read_audio, to_sample_rate, write_audio
from hgs_cli.audio.loudness import note_lufs
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.bench.clock import Clock
from hgs_cli.bench.plan import BenchPlan
from hgs_cli.models.generator import Envelopes
from hgs_cli.pipeline import Inversion, Model, Settings, open_sound, play
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.carrier import analyse
from hgs_cli.sampler.detail import measure_detail, transfer_detail
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.making import UNPITCHED_REFERENCE, make_instrument
from hgs_cli.sampler.notes import drawn_voices
from hgs_cli.sampler.voices import ask_networks, move_carriers, note_voices, read_carriers
from hgs_cli.spectrum import SAMPLE_RATE

N_STAGES = 19


def time_stages(clock: Clock, plan: BenchPlan, model: Model, path: Path, folder: Path) -> tuple[Inversion, Instrument]:
    """Every stage alone, in the order in which a sound goes through them; the last ones for 25 notes at once."""
    network, settings = model.network, Settings()

    def stage(name: str, work: Callable[[], Any], notes: int = 0, note_s: float = 0.0) -> Any:
        with torch.inference_mode():
            return clock.time("stages", name, work, notes, note_s)

    audio = stage("read", lambda: read_audio(path)).audio
    stage("resample from 48 kHz", lambda: to_sample_rate(audio, plan.rules.other_rate_hz))
    x = stage("log-mel", lambda: model.log_mel(audio[None].to(model.device)))
    source = stage("hearing", lambda: hear(audio))
    midi = source.midi
    h = stage("f", lambda: network.extract(x))
    p = x.new_tensor([UNPITCHED_REFERENCE if midi is None else midi])
    offsets = stage("H, one pass", lambda: network.refine(h, p, 1, plain=model.plain_weights))
    theta = stage("fold the offsets in", lambda: model.fold(offsets))
    with torch.inference_mode():
        first = network.envelopes(h, p, theta)
        known = Envelopes(first.harmonic[0].cpu(), first.noise_part[0].cpu())
        periodicity = measure_periodicity(audio, midi_to_hz(p[0].cpu() + source.pitch_contour_cents / 100.0))
    stage("measure detail", lambda: measure_detail(x[0].cpu(), periodicity, midi, known))
    inversion: Inversion = stage("invert, all of it", lambda: open_sound(model, path))
    instrument: Instrument = stage("ready to play", lambda: make_instrument(model, inversion))

    n_notes, note_s = len(plan.pitches), instrument.length_samples / SAMPLE_RATE
    q = torch.tensor(plan.pitches, device=model.device)
    h, part = instrument.feature.expand(n_notes, -1), instrument.parts[0]
    drawn = stage("G", lambda: network.envelopes(h, q, instrument.weights), n_notes, note_s)
    stage(
        "detail transfer",
        lambda: transfer_detail(network.detail_transfer, part.source, drawn, q),
        n_notes,
        note_s,
    )
    assert part.carrier is not None
    recorded, mono = part.carrier.audio, part.carrier.mono
    stage("analyse the recording", lambda: analyse(recorded, mono, pitch=midi))
    carriers = read_carriers(instrument, max(plan.pitches), settings)
    heads = stage("move the recording", lambda: move_carriers(carriers, plan.pitches, settings), n_notes, note_s)
    asked = stage("the networks", lambda: ask_networks(model, instrument, q, settings, True), n_notes, note_s)
    made = stage("levels, all of it", lambda: note_voices(asked, heads), n_notes, note_s)
    stage("tone and noise", lambda: drawn_voices(model, instrument, q, settings, made), n_notes, note_s)
    notes = [note.audio for note in play(model, instrument, plan.pitches, settings).notes]
    stage("loudness", lambda: [note_lufs(note) for note in notes], n_notes, note_s)
    stage("write 24 bits", lambda: _write(folder / "note.wav", notes), n_notes, note_s)
    return inversion, instrument


def _write(path: Path, notes: list[torch.Tensor]) -> None:
    for note in notes:
        write_audio(path, note, "PCM_24", 0)
        with open(path, "rb+") as written:
            os.fsync(written.fileno())
