"""Notes: the carrier, moved and shaped, and what is drawn beside it, as one waveform."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hgs_cli.audio.loop import fade_curve
from hgs_cli.errors import WeightsError
from hgs_cli.sampler.instrument import Instrument
from hgs_cli.sampler.level import Voices
from hgs_cli.sampler.model import Model
from hgs_cli.sampler.moving import sharpened
from hgs_cli.sampler.neighbours import Neighbour, NeighbourSays
from hgs_cli.sampler.settings import Settings
from hgs_cli.sampler.voices import (
    CarrierHead,
    MovedHead,
    ask_networks,
    move_carriers,
    note_voices,
    read_carriers,
)
from hgs_cli.sampler.wanted import NoteBatch, with_detail
from hgs_cli.side_by_side import one_thread_each, side_by_side
from hgs_cli.spectrum import MODEL_SAMPLES, N_FRAMES, SAMPLE_RATE


@dataclass(frozen=True)
class EndRules:
    """How notes begin and end, and how many are made at once."""

    begin_s: float = 0.002  # at its beginning: what a window hears of an onset before it would start with a step
    fade_s: float = 0.005  # at a note's end, so that a sound cut in its decay does not click
    cropped_fade_s: float = 0.25  # where what was read ends before the sound does
    drawn_fade_s: float = 0.5  # of the drawn voices, where the networks' window ends before the sound
    # notes that follow the networks together, at the most: more need memory that no core has near it
    piece_notes: int = 4
    # the same where no networks are asked: 25 notes of a snare take 8 (one core) to 13 % less than in fours
    plain_piece_notes: int = 16


ENDS = EndRules()


@dataclass(frozen=True)
class _Asked:
    """What is asked for of one instrument: its notes, from `ask_networks`, and its carriers, from `read_carriers`."""

    notes: Sequence[NoteBatch]
    carriers: Sequence[CarrierHead | None]

    def moved(
        self,
        chosen: slice,
        pitches: Sequence[float],
        says: Sequence[Sequence[NeighbourSays]] = (),
        levels: bool = False,
    ) -> tuple[list[MovedHead | None], Voices]:
        """Some of the notes: their carriers, and what each voice gives."""
        pieces = [notes.piece(chosen) for notes in self.notes]

        def carriers() -> list[MovedHead | None]:
            heads = move_carriers(self.carriers, pitches[chosen], self.notes[0].settings)
            for head in heads:
                if head is not None and pieces[0].drawn is not None:
                    head.listen()
            return heads

        def details() -> list[NoteBatch]:
            return [with_detail(piece) for piece in pieces]

        both: tuple[Callable[[], Any], ...] = (carriers, details)
        heads, pieces = side_by_side(lambda part: part(), both)
        return heads, note_voices(pieces, heads, says, levels)


@torch.inference_mode()
def synthesize(
    model: Model,
    instrument: Instrument,
    pitches: Sequence[float],
    settings: Settings,
    neighbours: Sequence[Sequence[Neighbour]] = (),
) -> Tensor:
    """Notes of an instrument before any gain, in one batch.

    Args:
        model: From `load_model`.
        instrument: What carries them.
        pitches: MIDI note numbers.
        settings: How they are made.
        neighbours: For each of its sounds others that shape it; empty where none has any.

    Returns:
        (N, length_samples) on the model's device; in stereo (N, 2, length_samples), whose mean is what it would be in
        mono.

    Raises:
        WeightsError: The networks give numbers that are not finite.
    """
    pitches = [pitch + settings.tune_cents / 100.0 for pitch in pitches]
    q = torch.tensor(pitches, dtype=torch.float32, device=model.device)
    with one_thread_each() if len(pitches) == 1 and q.device.type == "cpu" else nullcontext():
        return _synthesized(model, instrument, pitches, q, settings, neighbours)


def _synthesized(
    model: Model,
    instrument: Instrument,
    pitches: Sequence[float],
    q: Tensor,
    settings: Settings,
    neighbours: Sequence[Sequence[Neighbour]],
) -> Tensor:
    """As `synthesize`, of pitches q (B,) that are tuned."""

    def ask(one: Instrument, how: Settings) -> _Asked:
        carriers = read_carriers(one, max(pitches), how)
        return _Asked(ask_networks(model, one, q, how, carriers[0] is not None), carriers)

    asked = ask(instrument, settings)
    beside = [[(each, ask(each.instrument, asked.notes[-1].settings)) for each in of_sound] for of_sound in neighbours]

    def some(chosen: slice) -> Tensor:
        says = [
            [
                each.says(other.moved(chosen, pitches, levels=True)[1].level, chosen, settings.detail)
                for each, other in of_sound
            ]
            for of_sound in beside
        ]
        heads, voices = asked.moved(chosen, pitches, says)
        return _some_notes(asked.notes[0].piece(chosen), heads, voices)

    plain = all(each.drawn is None for each in asked.notes)
    return torch.cat(side_by_side(some, _pieces(q, ENDS.plain_piece_notes if plain else ENDS.piece_notes)))


def _pieces(q: Tensor, most: int) -> list[slice]:
    """Which notes of q (B,) are made one after the other, or one beside the other; at the most so many at once."""
    if q.device.type != "cpu":
        return [slice(None)]
    threads = torch.get_num_threads()
    n_pieces = min(len(q), threads * math.ceil(len(q) / (threads * most)))
    edges = [round(len(q) * index / n_pieces) for index in range(n_pieces + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]


def _some_notes(notes: NoteBatch, heads: Sequence[MovedHead | None], voices: Voices) -> Tensor:
    """Some of the notes, (N, length_samples) or (N, 2, length_samples)."""
    model, instrument, settings, q = notes.model, notes.instrument, notes.settings, notes.q
    if not bool(torch.isfinite(voices.drawn.harmonic.sum() + voices.drawn.noise_part.sum())):
        raise WeightsError(
            f"the weights {model.path} do not make finite notes of this sound", "use the released weights"
        )
    lead = heads[instrument.lead]

    def drawn() -> list[Tensor]:
        return [drawn_voices(model, instrument, q, settings, voices)[:, None]]

    def carried() -> list[Tensor]:
        if lead is None or voices.gain is None:
            return []
        gains, n_samples = voices.gain.cpu(), instrument.length_samples
        return side_by_side(lambda index: lead.sound(index, gains[index], n_samples, settings.seed), range(len(gains)))

    (audio,), moved = side_by_side(lambda voice: voice(), (drawn, carried))
    if lead is not None and moved:
        audio = _beside_carrier(lead, moved, settings, audio)
    _soften_ends(audio, instrument.cropped)
    if not settings.stereo:
        return audio[:, 0]
    return audio.expand(-1, 2, -1).contiguous() if audio.shape[1] == 1 else audio


def drawn_voices(model: Model, instrument: Instrument, q: Tensor, settings: Settings, voices: Voices) -> Tensor:
    """Tone and noise, as far as the networks hear, (B, T)."""
    n_samples = min(instrument.length_samples, MODEL_SAMPLES)
    heard = torch.arange(len(q), device=q.device) if voices.heard is None else voices.heard.nonzero()[:, 0]
    if not len(heard):
        audio = torch.zeros(len(q), n_samples, device=q.device)
    else:
        harmonic, noise_part = voices.drawn.harmonic, voices.drawn.noise_part
        if len(heard) < len(q):
            harmonic, noise_part = harmonic[heard], noise_part[heard]
        contour = q[heard, None].expand(-1, N_FRAMES)
        if settings.keep_vibrato:
            contour = contour + instrument.pitch_contour_cents / 100.0
        drawn = model.vocoder(harmonic, noise_part, contour, seed=settings.seed, length_samples=n_samples)
        audio = drawn if len(heard) == len(q) else drawn.new_zeros(len(q), n_samples).index_copy_(0, heard, drawn)
    if instrument.length_samples > n_samples:  # the carrier goes on
        n_fade = round(ENDS.drawn_fade_s * SAMPLE_RATE)
        audio[:, n_samples - n_fade :] *= fade_curve(n_fade, audio.device)
    return audio


def _beside_carrier(lead: MovedHead, carried: Sequence[Tensor], settings: Settings, drawn: Tensor) -> Tensor:
    """The carriers of notes as sound, (C, T) each, and what is drawn beside them, (B, 1, T): (B, C, T)."""
    carrier = lead.carrier
    for note, beside in zip(carried, drawn, strict=True):
        if bool(beside.any()):
            made = sharpened(carrier, beside.cpu())
            note[:, : made.shape[1]] += made if len(note) == 1 else made * lead.balance[:, None]
    audio = torch.stack(list(carried)).to(drawn.device)
    if audio.shape[1] == 2 and not settings.stereo:
        audio = (audio * carrier.mono[:, None].to(drawn.device)).sum(1, keepdim=True)
    return audio


def _soften_ends(audio: Tensor, cropped: bool) -> None:
    """Fade notes (B, C, T) in and out; out for longer where the sound went on."""
    n_begin = min(round(ENDS.begin_s * SAMPLE_RATE), audio.shape[-1] // 4)
    n_fade = min(round((ENDS.cropped_fade_s if cropped else ENDS.fade_s) * SAMPLE_RATE), audio.shape[-1] // 4)
    audio[..., :n_begin] *= 1.0 - fade_curve(n_begin, audio.device)
    audio[..., audio.shape[-1] - n_fade :] *= fade_curve(n_fade, audio.device)
