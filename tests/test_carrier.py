"""The recording itself, moved: what it is at its own pitch, and what stays of it at others."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import few_of, tone
from sounds import levels_db, noise, partials, times
from torch import Tensor

from hgs_cli.audio.mel import LogMel
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.evaluation.noise_spread import GAUSSIAN_SPREAD_DB, fine_spread_db
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import Model, Settings, invert, mix, mix_instruments, render, synthesize
from hgs_cli.sampler.carrier import OVERLAP, Carrier, analyse, bend
from hgs_cli.sampler.level import frame_gains, weight_at
from hgs_cli.sampler.moving import moved_spectra, sound
from hgs_cli.side_by_side import one_thread_each, side_by_side
from hgs_cli.spectrum import DB_PER_UNIT, HOP_LENGTH, MODEL_SAMPLES, N_FRAMES, N_MELS, SAMPLE_RATE

BEGIN, END = 100, 250  # samples of the fades at a note's beginning and end
CHORD = [261.63, 329.63, 392.0]
INTERVALS = (-24.0, -12.0, -7.0, -1.0, -0.3, 0.4, 1.0, 5.0, 12.0, 24.0)
CARRIED = Settings(tonal=0.0)  # nothing is drawn but what the networks say, which a trust of 0 leaves out


def move(audio: Tensor, semitones: float, pitch: float | None = None) -> Tensor:
    """A recording (C, T) at another pitch, no gain on it, (C, T)."""
    return play(analyse(audio, pitch=pitch), semitones)


def play(carrier: Carrier, semitones: float) -> Tensor:
    n_samples, ratio = carrier.audio.shape[1], 2.0 ** (semitones / 12.0)
    head = moved_spectra(carrier, [ratio], 0, carrier.frames_until(min(n_samples, MODEL_SAMPLES)))[0]
    return sound(carrier, ratio, head, lambda start, end: torch.ones(end - start, carrier.n_fft // 2 + 1), n_samples)


def steady(hz: Sequence[float], seconds: float = 3.0, decays: Sequence[float] | None = None) -> Tensor:
    """Sines that begin at once, equally loud, (T,)."""
    return partials(hz, seconds, [0.5 / len(hz)] * len(hz), decays or [0.0] * len(hz))


def white(seconds: float) -> Tensor:
    return noise(seconds, 0.1)


def burst(seconds: float = 0.4) -> Tensor:
    return noise(seconds, 0.1, fade_s=1 / 12)


def cents_off(audio: Tensor, wanted_hz: float) -> float:
    """How far the strongest partial within a quarter tone of a frequency is from it, on a long spectrum."""
    n_fft = 2**19
    part = audio[SAMPLE_RATE // 4 : -SAMPLE_RATE // 4].double()
    level = torch.fft.rfft(part * torch.hann_window(len(part), dtype=torch.float64), n_fft).abs().log()
    bin_hz = SAMPLE_RATE / n_fft
    low, high = (round(wanted_hz * 2.0 ** (cents / 1200.0) / bin_hz) for cents in (-50.0, 50.0))
    top = low + int(level[low : high + 1].argmax())
    left, middle, right = level[top - 1 : top + 2].tolist()
    heard_hz = (top + 0.5 * (left - right) / (left - 2.0 * middle + right)) * bin_hz
    return 1200.0 * math.log2(heard_hz / wanted_hz)


def energy_db(part: Tensor, whole: Tensor) -> float:
    return 10.0 * math.log10((float(part.double().square().sum()) + 1e-30) / float(whole.double().square().sum()))


def inverted(model: Model, audio: Tensor, trust: float | None = None, **options: object) -> Inversion:
    """A sound (T,) or (T, C) as an instrument, trusted as far as asked for."""
    made = invert(model, audio, SAMPLE_RATE, **options)  # type: ignore[arg-type]
    return made if trust is None else replace(made, trust=trust)


# --- at the sound's own pitch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tone", "drum", "both channels", "long"])
def test_at_its_own_pitch_a_sound_is_the_recording(model: Model, kind: str) -> None:
    recording = {
        "tone": torch.from_numpy(tone()),
        "drum": burst(),
        "both channels": torch.stack([torch.from_numpy(tone()), 0.5 * torch.from_numpy(tone(331.0))], 1),
        "long": steady([220.0, 440.0], 6.0),
    }[kind]
    stereo = recording.ndim == 2
    inversion = inverted(model, recording, stereo=stereo, pitch=None if kind == "drum" else "auto")
    settings = Settings(tonal=0.0 if kind == "drum" else None, stereo=stereo)
    rendered = render(model, inversion, [inversion.stands_at], settings)
    heard = rendered.notes[0].audio
    assert heard.shape == recording.shape
    inside, wanted = heard[BEGIN:-END].double(), recording[BEGIN:-END].double()
    gain = float((inside * wanted).sum() / wanted.square().sum())
    assert float((inside / gain - wanted).abs().max()) < 3e-6 * float(recording.abs().max())


@pytest.mark.parametrize("semitones", [-0.01, 0.01])
@pytest.mark.parametrize("kind", ["tone", "drum", "chord"])
def test_a_cent_away_it_is_as_near_to_the_recording(kind: str, semitones: float) -> None:
    recording = {"tone": torch.from_numpy(tone()), "drum": burst(), "chord": steady(CHORD, 1.5, [3.0] * 3)}[kind]
    log_mel = LogMel()
    x, moved = log_mel(recording[None])[0], log_mel(move(recording[None], semitones))[0]
    floor = float(x.max()) - 60.0 / DB_PER_UNIT
    apart_db = DB_PER_UNIT * (x.clamp(min=floor) - moved.clamp(min=floor)).abs()
    n_frames = len(recording) // HOP_LENGTH
    assert float(apart_db[:, :n_frames].mean()) < 0.3


# --- at other pitches -----------------------------------------------------------------------------------------------

BELL = [311.0, 622.0 * 0.98, 744.0, 1120.0, 1866.0]


@pytest.mark.parametrize("semitones", few_of(INTERVALS, -12.0, -0.3, 24.0))
@pytest.mark.parametrize(
    "hz", [[440.0], CHORD, [hz * k for hz in CHORD for k in (1, 2)], BELL], ids=["sine", "chord", "organ", "bell"]
)
def test_every_partial_stands_within_a_cent_of_its_place(hz: list[float], semitones: float) -> None:
    bell = hz is BELL
    moved = move(steady(hz, decays=[0.5 + 0.4 * k for k in range(len(hz))] if bell else None)[None], semitones)[0]
    for each in hz:
        assert abs(cents_off(moved, each * 2.0 ** (semitones / 12.0))) < 1.0, each


@pytest.mark.parametrize("interval", few_of([-24.0, -11.0, 3.0, 19.0], -11.0, 19.0))
def test_a_note_asked_for_is_the_note_heard(model: Model, interval: float) -> None:
    """Through the whole instrument, whatever a network that knows nothing says."""
    inversion = inverted(model, steady([196.0 * k for k in range(1, 9)]))
    pitch = inversion.stands_at + interval
    heard = render(model, inversion, [pitch]).audio[0]
    assert abs(cents_off(heard, 440.0 * 2.0 ** ((pitch - 69.0) / 12.0))) < 1.5


@pytest.mark.parametrize("semitones", few_of([-12.0, -5.0, -1.0, 1.0, 5.0, 12.0], -5.0, 12.0))
@pytest.mark.parametrize("kind", ["click", "struck tone", "second stroke"])
def test_an_attack_stays_sharp(kind: str, semitones: float) -> None:
    n_before, n_all = 20_000, 60_000
    recording = torch.zeros(n_all)
    if kind == "click":
        recording[n_before : n_before + 40] = torch.hann_window(40) * torch.sin(torch.arange(40.0))
    else:
        time = times((n_all - n_before) / SAMPLE_RATE).float()
        struck = tone(220.0, len(time) / SAMPLE_RATE, n_harmonics=20)
        recording[n_before:] = torch.from_numpy(struck) * torch.exp(-4.0 * time)
        recording[n_before : n_before + 60] += 0.3 * white(60 / SAMPLE_RATE)
    if kind == "second stroke":
        recording[:n_before] = 0.002 * steady([220.0, 440.0], n_before / SAMPLE_RATE)
    moved = move(recording[None], semitones)[0]
    ahead, after = moved[n_before - 6000 : n_before - 88], moved[n_before : n_before + 2000]
    assert energy_db(ahead, after) < -30.0


def test_vibrato_stays_or_is_flattened(model: Model) -> None:
    time = times(2.0)
    swing = 35.0 * torch.sin(math.tau * 5.0 * time)
    phase = math.tau * torch.cumsum(220.0 * 2.0 ** (swing / 1200.0) / SAMPLE_RATE, 0)
    recording = (0.3 * sum(torch.sin(k * phase) / k for k in range(1, 8))).float()  # type: ignore[union-attr]
    inversion = inverted(model, recording, trust=0.0)
    frames = slice(20, 150)
    wanted = swing[::HOP_LENGTH][frames].float()
    for interval in (-9.0, 4.0, 12.0):
        pitch = inversion.stands_at + interval
        kept, flat = (
            detect_pitch(
                render(model, inversion, [pitch], Settings(keep_vibrato=keep)).audio[0], pitch
            ).pitch_contour_cents[frames]
            for keep in (True, False)
        )
        assert float((kept - kept.mean() - wanted).abs().mean()) < 6.0
        assert float((flat - flat.mean()).abs().mean()) < 3.0
        assert float((flat - flat.mean()).abs().max()) < 8.0


def test_a_bend_moves_the_pitch_and_nothing_else() -> None:
    recording = steady([300.0, 600.0, 900.0])
    carrier = bend(analyse(recording[None]), torch.full((400,), 30.0), HOP_LENGTH)
    moved = play(carrier, 5.0)[0]
    for hz in (300.0, 600.0, 900.0):
        assert abs(cents_off(moved, hz * 2.0 ** (5.3 / 12.0))) < 1.0


@pytest.mark.parametrize("semitones", few_of([7.0, 12.0, 19.0], 12.0))
def test_noise_that_moves_up_stays_noise(semitones: float) -> None:
    """Regions that move apart would leave gaps: the levels of its fine spectrum would spread wider."""
    moved = move(white(3.0)[None], semitones)[0]
    spread_db = fine_spread_db(moved[6000:-6000], 500.0, 12_000.0)
    assert spread_db == pytest.approx(GAUSSIAN_SPREAD_DB, abs=1.0)


@pytest.mark.parametrize("semitones", few_of([-24.0, -12.0, -3.0], -12.0))
def test_what_moves_down_leaves_its_top_empty(model: Model, semitones: float) -> None:
    """Only the networks may say what was above the band of the recording; here they are not believed."""
    inversion = inverted(model, white(1.0), trust=0.0, pitch=None)
    heard = render(model, inversion, [inversion.stands_at + semitones], CARRIED).audio[0]
    spectrum = torch.fft.rfft(heard.double() * torch.hann_window(len(heard), dtype=torch.float64))
    top = round(1.03 * len(heard) / 2 * 2.0 ** (semitones / 12.0))
    assert energy_db(spectrum[top:].abs(), spectrum.abs()) < -60.0


def test_silence_stays_silence() -> None:
    recording = torch.cat([steady([220.0, 440.0], 0.5), torch.zeros(SAMPLE_RATE), steady([330.0], 0.5)])
    for semitones in (-12.0, 7.0):
        moved = move(recording[None], semitones)[0]
        assert energy_db(moved[27_000:60_000], moved) < -60.0


# --- both channels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semitones", few_of([-12.0, -3.0, 4.0, 12.0], -3.0, 12.0))
def test_a_sound_hard_right_stays_hard_right(model: Model, semitones: float) -> None:
    right = torch.from_numpy(tone())
    inversion = inverted(model, torch.stack([torch.zeros_like(right), right], 1), stereo=True)
    heard = render(model, inversion, [inversion.stands_at + semitones], Settings(stereo=True)).notes[0].audio
    assert energy_db(heard[:, 0], heard[:, 1]) < -60.0


@pytest.mark.parametrize("semitones", few_of([-7.0, 5.0, 12.0], 5.0))
def test_a_tone_on_the_left_and_one_on_the_right_stay_apart(model: Model, semitones: float) -> None:
    both = torch.stack([steady([300.0], 1.5), steady([517.0], 1.5)], 1)
    inversion = inverted(model, both, trust=0.0, stereo=True)
    heard = render(model, inversion, [inversion.stands_at + semitones], Settings(stereo=True, tonal=0.0)).notes[0].audio
    spectra = torch.fft.rfft(heard.double() * torch.hann_window(len(heard), dtype=torch.float64)[:, None], dim=0).abs()
    for own, hz in enumerate((300.0, 517.0)):
        at = round(hz * 2.0 ** (semitones / 12.0) * len(heard) / SAMPLE_RATE)
        near = spectra[at - 15 : at + 16].square().sum(0)
        assert 10.0 * math.log10(float(near[own] / near[1 - own])) > 30.0


@pytest.mark.parametrize("trust", [0.0, 1.0])
def test_the_mean_of_both_channels_is_the_mono_note(model: Model, trust: float) -> None:
    left = torch.from_numpy(tone())
    right = 0.7 * (left.roll(30) if trust == 0.0 else left)  # what is drawn stands where the sound stands
    inversion = inverted(model, torch.stack([left, right], 1), trust, stereo=True)
    pitches = [inversion.stands_at + interval for interval in (-12.0, 0.0, 5.0)]
    plain = Settings(normalize="none")
    mono, stereo = (render(model, inversion, pitches, replace(plain, stereo=wide)) for wide in (False, True))
    taken_back = 10.0 ** ((mono.lowered_db - stereo.lowered_db) / 20.0)
    apart = stereo.audio.mean(-1) * taken_back - mono.audio
    assert float(apart.abs().max()) < 1e-5 * float(mono.audio.abs().max())


# --- as long as the recording ---------------------------------------------------------------------------------------


def largest_step_db(audio: Tensor) -> float:
    """From one tenth of a second to the next, around the networks' last moment and for six seconds after it."""
    steps = levels_db(audio, 0.1).diff().abs()
    last = int(MODEL_SAMPLES / SAMPLE_RATE / 0.1)
    return float(steps[last - 8 : last + 60].max())


@pytest.mark.parametrize("interval", few_of([-5.0, 0.0, 7.0], 7.0))
def test_a_steady_tone_has_no_step_where_the_networks_stop_listening(model: Model, interval: float) -> None:
    inversion = inverted(model, steady([220.0 * k for k in range(1, 6)], 12.0), trust=0.0)
    assert largest_step_db(render(model, inversion, [inversion.stands_at + interval]).audio[0]) < 0.5


@pytest.mark.thorough
@pytest.mark.weights
@pytest.mark.parametrize(("trust", "most_db"), [(None, 1.0), (1.0, 2.5)])  # trusted as far as may be, more is faded
@pytest.mark.parametrize("interval", [-9.0, 0.0, 7.0])
def test_a_steady_tone_has_no_step_there_with_the_released_weights(
    released: Model, interval: float, trust: float | None, most_db: float
) -> None:
    waves = sum((steady([220.0 * k], 12.0) / k for k in range(1, 20)), torch.zeros(12 * SAMPLE_RATE))
    inversion = inverted(released, waves, trust)
    assert largest_step_db(render(released, inversion, [inversion.stands_at + interval]).audio[0]) < most_db


@pytest.mark.parametrize("n_fft", [2048, 4096, 8192])
@pytest.mark.parametrize("gain_db", [-20.0, 8.0])
def test_a_gain_fades_where_the_networks_stop_listening_and_then_is_none(n_fft: int, gain_db: float) -> None:
    factors = frame_gains(torch.full((N_MELS, N_FRAMES), gain_db / DB_PER_UNIT), n_fft)
    per_second = SAMPLE_RATE * OVERLAP / n_fft
    n_frames = round(12.0 * per_second)
    gains_db = 20.0 * torch.cat([factors(at, min(at + 50, n_frames)) for at in range(0, n_frames, 50)]).log10()
    assert float((gains_db[: int(4.0 * per_second)] - gain_db).abs().max()) < 0.01
    assert float(gains_db[round(9.0 * per_second) :].abs().max()) < 0.01
    assert float(gains_db.diff(dim=0).abs().max()) * per_second < 10.0


@pytest.mark.parametrize("seconds", [2.0, 20.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_a_note_is_as_long_as_its_recording_and_sounds_to_its_end(model: Model, seconds: float) -> None:
    recording = steady([220.0, 440.0, 660.0], seconds)
    inversion = inverted(model, recording)
    audio = render(model, inversion, [inversion.stands_at + 3.0]).audio[0]
    assert len(audio) == len(recording)
    level = levels_db(audio, 0.25)
    assert float(level[-2]) > float(level[len(level) // 2]) - 3.0


@pytest.mark.parametrize("semitones", [-12.0, 3.0])
def test_blocks_of_a_long_recording_join_without_a_seam(semitones: float) -> None:
    recording = steady([220.0, 440.0], 12.0)
    level = levels_db(move(recording[None], semitones)[0], 0.1)[2:-2]
    assert float(level.max() - level.min()) < 0.5


@pytest.mark.parametrize("before", ["noise", "silence"])
def test_a_sound_after_a_lead_in_begins_at_once(model: Model, before: str) -> None:
    lead = 1e-3 * white(2.0) if before == "noise" else torch.zeros(5 * SAMPLE_RATE)
    inversion = inverted(model, torch.cat([lead, torch.from_numpy(tone())]))
    for interval in (0.0, 5.0):
        audio = render(model, inversion, [inversion.stands_at + interval]).audio[0]
        loud = (levels_db(audio, 0.005) > levels_db(audio, 0.005).max() - 12.0).nonzero()[0]
        assert int(loud) * 0.005 < 0.03


# --- mixes and threads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [0.0, 1.0])
@pytest.mark.parametrize("pitched", [True, False], ids=["tone", "drum"])
def test_a_carried_sound_mixed_with_itself_is_that_sound(model: Model, pitched: bool, trust: float) -> None:
    recording = torch.from_numpy(tone()) if pitched else burst()
    inversion = inverted(model, recording, trust if pitched else 0.0, pitch="auto" if pitched else None)
    pitches = [inversion.stands_at + interval for interval in (-7.0, 0.0, 3.0)]
    plain, mixed = (
        render(model, inversion, pitches, CARRIED).audio,
        mix(model, [inversion, inversion], [0.4, 0.6], pitches, CARRIED).audio,
    )
    log_mel = LogMel()
    x, mixed_x = log_mel(plain), log_mel(mixed)
    floor = float(x.max()) - 50.0 / DB_PER_UNIT
    n_frames = len(recording) // HOP_LENGTH
    apart_db = DB_PER_UNIT * (x.clamp(min=floor) - mixed_x.clamp(min=floor)).abs()[..., :n_frames]
    assert float(apart_db.mean()) < 1.0


def test_the_ends_of_a_mix_are_the_plain_notes(model: Model) -> None:
    one, other = inverted(model, torch.from_numpy(tone())), inverted(model, burst(), pitch=None)
    pitches = [45.0, 60.0, 63.5]
    for shares, alone in (([1.0, 0.0], one), ([0.0, 1.0], other)):
        assert torch.equal(mix(model, [one, other], shares, pitches).audio, render(model, alone, pitches).audio)


@pytest.mark.weights
def test_a_mix_begins_no_louder_than_the_struck_and_the_blown_sound_that_it_lies_between(released: Model) -> None:
    n_struck, n_blown = (torch.arange(round(seconds * SAMPLE_RATE)) for seconds in (1.5, 2.0))
    struck = torch.from_numpy(tone(440.0, 1.5, n_harmonics=3)) * torch.exp(-12.0 * n_struck / SAMPLE_RATE)
    blown = torch.from_numpy(tone(262.0, 2.0, n_harmonics=20)) * torch.exp(2.0 * n_blown / SAMPLE_RATE)
    sounds = [invert(released, each, SAMPLE_RATE) for each in (struck, blown * (n_blown / 12_000).clamp(max=1.0))]
    first, middle, last = (
        levels_db(synthesize(released, mix_instruments(released, sounds, shares), [58.0], CARRIED)[0], 0.02)[:50]
        for shares in ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0])
    )
    assert float((middle - torch.maximum(first, last)).max()) < 3.0


@pytest.mark.parametrize("kind", ["tone", "drum", "both channels"])
def test_one_thread_and_two_give_the_same_notes_bit_for_bit(
    model: Model, threads: Callable[[int], None], kind: str
) -> None:
    recording = {
        "tone": torch.from_numpy(tone()),
        "drum": burst(),
        "both channels": torch.stack([burst(), torch.from_numpy(tone(seconds=0.4))], 1),
    }[kind]
    threads(1)
    inversion = inverted(model, recording, trust=0.0, stereo=True, pitch=None if kind == "drum" else "auto")
    pitches = [inversion.stands_at + interval for interval in (-12.0, -0.5, 3.0, 12.0)]
    settings = Settings(tonal=0.0, stereo=True)
    alone = render(model, inversion, pitches, settings).audio
    threads(2)
    assert torch.equal(render(model, inversion, pitches, settings).audio, alone)


def test_a_note_alone_is_made_by_two_threads_as_by_one(model: Model, threads: Callable[[int], None]) -> None:
    threads(1)
    inversion = inverted(model, torch.from_numpy(tone()), trust=1.0)
    note = render(model, inversion, [inversion.stands_at + 3.0]).audio
    threads(2)
    torch.testing.assert_close(render(model, inversion, [inversion.stands_at + 3.0]).audio, note)
    assert torch.get_num_threads() == 2
    both = threading.Barrier(2, timeout=10.0)
    with one_thread_each():
        assert torch.get_num_threads() == 1
        assert len(side_by_side(lambda _: both.wait(), range(2))) == 2  # who is alone waits in vain


@pytest.mark.parametrize(
    "recording",
    [
        torch.zeros(1, 5000), torch.ones(1, 441), 1e-6 * white(0.05)[None], torch.eye(1, 3000),
        1e4 * white(0.2)[None], torch.sign(steady([220.0], 0.2))[None], torch.zeros(2, 5000),
        torch.stack([white(0.3), torch.zeros(13_230)]), torch.sin(torch.arange(9000.0) * math.pi)[None],
    ],
    ids=["silence", "constant", "hiss", "impulse", "loud", "square", "two silences", "one side", "highest"],
)  # fmt: skip
@pytest.mark.parametrize("semitones", few_of([-60.0, -12.0, 12.0, 60.0], -60.0, 12.0))
def test_odd_recordings_move_to_finite_ones(recording: Tensor, semitones: float) -> None:
    moved = move(recording, semitones)
    assert moved.shape == recording.shape
    assert bool(torch.isfinite(moved).all())
    assert float(moved.abs().max()) <= 10.0 * float(recording.abs().max()) + 1e-6


def test_a_recording_is_left_as_it_was() -> None:
    recording = torch.from_numpy(np.stack([tone(), 0.5 * tone(330.0)]))
    before = recording.clone()
    move(recording, 5.0)
    assert torch.equal(recording, before)


def test_far_up_the_networks_say_all_of_a_level_and_near_by_most_of_it() -> None:
    weights = weight_at(torch.tensor([-24.0, 0.0, 6.0, 9.0, 12.0, 18.0, 30.0]))
    assert bool((weights.diff() >= 0.0).all())
    assert float(weights[0]) == float(weights[1]) == float(weights[2])
    assert 0.5 < float(weights[2]) < float(weights[3]) < float(weights[4])
    assert float(weights[-1]) == float(weights[-2]) == 1.0
