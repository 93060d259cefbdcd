"""The cross-pitch test: from one recording, notes at other pitches, each beside the real recording at that pitch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from hgs_cli.console import HowFar
from hgs_cli.evaluation.cross_pitch_result import OFF, ON, PLAIN, CrossPitchResult
from hgs_cli.evaluation.decay import compare_decay
from hgs_cli.evaluation.measures import Distance, SideMeasures, fit, side_measures, track_pitch
from hgs_cli.evaluation.pairs import BANDS, HyperNote, InstrumentResult, Pair, pair_name
from hgs_cli.evaluation.peers import RUBBER_BAND_R3, find_peers
from hgs_cli.evaluation.recordings import Note, choose_source, notes_of_band, read_note, read_notes, semitones_between
from hgs_cli.evaluation.sources import CrossPitchOptions
from hgs_cli.evaluation.workers import measure_each
from hgs_cli.pipeline import Instrument, Model, Settings, invert, make_instrument, reconstruct, synthesize
from hgs_cli.sampler.playing import BATCH_NOTES
from hgs_cli.spectrum import SAMPLE_RATE

DECAYING_PEERS = ("resampling, while it lasts", RUBBER_BAND_R3)
SUSTAINED_FAMILIES = ("wind", "bowed", "brass")


@dataclass(frozen=True)
class CrossPitchRules:
    """How much is measured."""

    quick_per_band: int = 1  # notes of each band of intervals, for a quick measurement
    quick_hyper_per_instrument: int = 2  # recordings with and without H, likewise
    hyper_per_instrument: int = 12  # recordings with and without H


CROSS_PITCH = CrossPitchRules()


def measure_cross_pitch(
    model: Model,
    real_dir: Path,
    instruments: Sequence[str],
    options: CrossPitchOptions | None = None,
    *,
    workers: int = 1,
    advance: HowFar = lambda done, total: None,
) -> CrossPitchResult:
    """Measure a model, and everything else that can shift a note, against real recordings.

    From one recording of an instrument (its middle loud note) every other loud note within two octaves is made and
    compared with the real one, and the note itself.

    Args:
        model: From `load_model`.
        real_dir: Folder with a manifest and recordings.
        instruments: Whose recordings are used; those the model was never trained on, for figures that count.
        options: What is rendered.
        workers: Processes, one thread each; 1 stays in this one. The figures are the same with any number.
        advance: Takes instruments done and their number.

    Raises:
        InputError: The manifest or a recording cannot be used, or a peer fails.
    """
    options = options or CrossPitchOptions()
    notes = read_notes(real_dir, instruments)
    longest_first = dict(sorted(notes.items(), key=lambda item: -len(item[1])))
    found = measure_each(model, longest_first, partial(_measure_instrument, options=options), workers, advance)
    return CrossPitchResult(
        options=options,
        instruments={name: found[name] for name in notes},
        peers=find_peers(),
    )


def render_notes(
    model: Model, instrument: Instrument, pitches: Sequence[float], detail: float, seed: int
) -> list[Tensor]:
    """Notes of an instrument without gain, each (T,)."""
    settings = Settings(detail=detail, seed=seed)
    batches = [pitches[start : start + BATCH_NOTES] for start in range(0, len(pitches), BATCH_NOTES)]
    return [note for batch in batches for note in synthesize(model, instrument, batch, settings).cpu()]


def _measure_instrument(model: Model, recordings: list[Note], options: CrossPitchOptions) -> InstrumentResult:
    source, loud = choose_source(recordings)
    targets = _targets(source, loud, options.quick)
    original = read_note(source.path)
    renders, found = _render_rows(model, original, [None if t is source else t.midi for t in targets], options)
    shifts = [(peer, peer.open(original, source.midi)) for peer in find_peers().found]
    distance = Distance()
    pairs = []
    for index, target in enumerate(targets):
        real = read_note(target.path)
        n_samples = min(original.shape[-1], real.shape[-1])
        outputs = {peer.name: (shift(target.midi - source.midi), peer.while_it_lasts) for peer, shift in shifts}
        outputs |= {name: (audio[index], False) for name, audio in renders.items()}
        distances, sides = _compare(distance, outputs, real[:n_samples], target.midi)
        cents = real_cents = None
        if target.family in SUSTAINED_FAMILIES:
            cents, real_cents = (_cents_off(audio, target.midi) for audio in (list(outputs.values())[-1][0], real))
        main = list(outputs)[-1]
        chosen = {row: outputs[row] for row in (*DECAYING_PEERS, main + PLAIN, main) if row in outputs}
        decay = compare_decay(
            pair_name(source, target), source.instrument, semitones_between(source, target), original, real, chosen
        )
        pairs.append(Pair(source, target, distances, sides, cents, real_cents, decay))
    return InstrumentResult(
        pairs=pairs,
        hyper=_compare_hyper(model, recordings, options.quick) if options.hyper else [],
        source_pitch_cents=None if found is None else 100.0 * (found - source.midi),
    )


def _targets(source: Note, notes: Sequence[Note], quick: bool) -> list[Note]:
    """Notes to render from a source: itself and all within two octaves, or the middle one of each band."""
    chosen = []
    for _, least, most in BANDS:
        band = notes_of_band(source, notes, least, most)
        if quick:
            middle = len(band) // 2
            band = band[middle : middle + CROSS_PITCH.quick_per_band]
        chosen += band
    return chosen


def _render_rows(
    model: Model, original: Tensor, wanted: Sequence[float | None], options: CrossPitchOptions
) -> tuple[dict[str, list[Tensor]], float | None]:
    """The model's rows, what users hear last, and the source pitch that was found.

    None is the sound's own pitch, as it was found: beside peers that are told to move it by nothing.
    """
    plain = invert(model, original, SAMPLE_RATE, passes=0, start_s=0.0)
    instruments = {OFF: make_instrument(model, plain)}
    if options.hyper:
        instruments[ON] = make_instrument(model, invert(model, original, SAMPLE_RATE, start_s=0.0))
    pitches = [plain.stands_at if pitch is None else pitch for pitch in wanted]
    renders = {}
    for suffix, detail in ((PLAIN, 0.0), ("", options.detail)):
        for name, instrument in instruments.items():
            renders[name + suffix] = render_notes(model, instrument, pitches, detail, options.seed)
    return renders, plain.source_pitch


def _compare(
    distance: Distance, outputs: dict[str, tuple[Tensor, bool]], real: Tensor, midi: float
) -> tuple[dict[str, float], dict[str, SideMeasures]]:
    """Distance and side measures of every row to a real note (T,)."""
    n_samples = real.shape[-1]
    real_mels, real_side = distance.mels(real), side_measures(real, midi)
    distances, sides = {}, {}
    for name, (audio, while_it_lasts) in outputs.items():
        if while_it_lasts and audio.shape[-1] < n_samples:
            part = real[: audio.shape[-1]]
            mels, side = distance.mels(part), side_measures(part, midi)
        else:
            audio, mels, side = fit(audio, n_samples), real_mels, real_side
        distances[name] = distance.between(distance.mels(audio), mels)
        sides[name] = side_measures(audio, midi).minus(side)
    return distances, sides


def _cents_off(audio: Tensor, midi: float) -> float:
    heard = track_pitch(audio)
    return math.nan if heard is None else 100.0 * (heard - midi)


def _compare_hyper(model: Model, recordings: list[Note], quick: bool) -> list[HyperNote]:
    """H on against H off at the recordings' own pitch, detail off, evenly spread over them."""
    wanted = CROSS_PITCH.quick_hyper_per_instrument if quick else CROSS_PITCH.hyper_per_instrument
    step = max(1, math.ceil(len(recordings) / wanted))
    found = []
    for note in recordings[step // 2 :: step]:
        heard = invert(model, read_note(note.path), SAMPLE_RATE, pitch=note.midi, start_s=0.0)
        result = reconstruct(model, heard)
        mel = result.mel[:, : result.length_frames]
        mses = [float((mel - x[:, : result.length_frames]).square().mean()) for x in (result.x_init, result.x_hat)]
        dbs = [result.distance_db(x) for x in (result.x_init, result.x_hat)]
        found.append(HyperNote(note.instrument, *mses, *dbs))
    return found
