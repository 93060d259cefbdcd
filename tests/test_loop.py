"""Whatever is sustained can be held without a click, in tune and at its level; whatever dies away is left alone."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import few_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hgs_cli.audio.loop import LoopedNote, crossfade, find_loop, hold, shorten

RATE = 44_100


def sustained(
    f0_hz: float, seconds: float = 4.0, vibrato_cents: float = 0.0, noise: float = 0.0, vibrato_hz: float = 5.5
) -> Tensor:
    """A tone with an attack of 0.1 s and an ending of 0.25 s, (T,)."""
    time = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    depth = vibrato_cents / 1200.0 * math.log(2.0)
    turns = f0_hz * (time - depth * torch.cos(math.tau * vibrato_hz * time) / (math.tau * vibrato_hz))
    tone = sum(
        (torch.sin(math.tau * k * turns + 2.4 * k * k) / k for k in range(1, 30) if k * f0_hz < 16_000), torch.zeros(1)
    )
    hiss = torch.randn(len(time), generator=torch.Generator().manual_seed(1))
    shape = (time / 0.1).clamp(max=1.0) * ((seconds - time) / 0.25).clamp(max=1.0)
    return ((0.2 * tone + noise * hiss) * shape).float()


def looped(audio: Tensor, f0_hz: float) -> LoopedNote:
    note = find_loop(audio, f0_hz, RATE)
    assert note is not None
    return note


def repeated(note: LoopedNote, seconds: float) -> Tensor:
    """What a sampler plays, (T,)."""
    start, end = note.loop.start, note.loop.end
    times = math.ceil((seconds * RATE - start) / (end - start))
    return torch.cat([note.audio[..., :start], *[note.audio[..., start:end]] * times], -1)[..., : round(seconds * RATE)]


def bends(audio: Tensor) -> Tensor:
    """Second differences: a step or a kink of a waveform stands out in them."""
    return torch.diff(audio, n=2).abs()


def levels_db(audio: Tensor, seconds: float = 0.5) -> Tensor:
    n_window = round(seconds * RATE)
    return 10.0 * torch.log10(audio[: len(audio) // n_window * n_window].reshape(-1, n_window).square().mean(1))


@settings(max_examples=8)
@given(st.floats(40.0, 1600.0), st.sampled_from([0.0, 8.0, 25.0]))
def test_a_loop_has_whole_periods_and_no_seam(f0_hz: float, vibrato_cents: float) -> None:
    note = looped(sustained(f0_hz, vibrato_cents=vibrato_cents), f0_hz)
    start, end = note.loop.start, note.loop.end
    assert end - start >= 0.4 * RATE
    played = repeated(note, 10.0)
    seams = [round(at) for at in range(end, len(played) - 100, end - start)]
    usual = bends(note.audio[start:end]).max()
    assert max(float(bends(played[seam - 50 : seam + 50]).max()) for seam in seams) <= 1.1 * usual
    if vibrato_cents == 0.0:
        periods = (end - start) / note.period_samples
        assert abs(periods - round(periods)) * note.period_samples <= 0.75  # samples: their grid, and noise of rounding


def test_vibrato_goes_on_through_the_seam() -> None:
    note = looped(sustained(330.0, vibrato_cents=30.0), 330.0)
    cycles = (note.loop.end - note.loop.start) / RATE * 5.5
    assert abs(cycles - round(cycles)) < 0.03


@pytest.mark.parametrize(
    ("f0_hz", "vibrato_cents", "noise"),
    few_of([(55.0, 0, 0.0), (233.0, 20, 0.01), (1046.5, 0, 0.003)], (233.0, 20, 0.01)),
)
def test_a_note_held_for_half_a_minute_stays_in_tune_and_at_its_level(
    f0_hz: float, vibrato_cents: float, noise: float
) -> None:
    note = looped(sustained(f0_hz, vibrato_cents=vibrato_cents, noise=noise), f0_hz)
    for held in (repeated(note, 30.0), hold(note, 30 * RATE)):
        assert held.shape == (30 * RATE,)
        middle = held[RATE : 29 * RATE]
        levels = levels_db(middle)
        assert float(levels.max() - levels.min()) < 1.0
        # The fundamental, mixed down to 0 Hz: what its phase drifts by is what the note is out of tune by.
        time = torch.arange(len(middle), dtype=torch.float64) / RATE
        slow = torch.polar(middle.double(), -math.tau * f0_hz * time)
        slow = slow[: len(slow) // 4410 * 4410].reshape(-1, 4410).mean(1)
        turned = torch.angle(slow[1:] * slow[:-1].conj()).sum() / math.tau
        cents = 1200.0 * math.log2(1.0 + float(turned) / (len(slow) - 1) / 0.1 / f0_hz)
        assert abs(cents) < 1.0


def test_a_held_note_begins_and_ends_as_the_note_does() -> None:
    note = looped(sustained(220.0, noise=0.01), 220.0)
    held = hold(note, 12 * RATE)
    attack = note.loop.start // 2
    assert torch.equal(held[:attack], note.audio[:attack])
    ending = levels_db(held[-RATE // 4 :], 0.05)
    assert float(ending[0] - ending[-1]) > 10.0  # its own fade of a quarter of a second
    assert bends(held).max() <= 1.1 * bends(note.audio).max()


def likeness_at_lags(audio: Tensor, longest_s: float) -> Tensor:
    """Autocorrelation at lags from 0.2 s on."""
    power = torch.fft.rfft(audio, 2 * len(audio)).abs().square()
    found = torch.fft.irfft(power)[: round(longest_s * RATE)]
    overlap = 1.0 - torch.arange(len(found)) / len(audio)
    alike: Tensor = (found / found[0] / overlap)[round(0.2 * RATE) :]
    return alike


def test_the_noise_of_a_held_note_does_not_come_back_in_rhythm() -> None:
    noise = 0.1 * torch.randn(4 * RATE, generator=torch.Generator().manual_seed(2))
    note = looped(noise, 220.0)
    assert likeness_at_lags(repeated(note, 20.0)[note.loop.start :], 5.0).max() > 0.95
    assert likeness_at_lags(hold(note, 20 * RATE), 5.0).max() < 0.35


def test_steady_noise_is_as_loud_at_the_seam_as_anywhere() -> None:
    noise = 0.1 * torch.randn(4 * RATE, generator=torch.Generator().manual_seed(2))
    note = looped(noise, 220.0)
    levels = levels_db(repeated(note, 20.0), 0.05)
    assert float(levels.max() - levels.min()) < 2.5  # noise itself: 20 windows a second, each of 2205 values


@pytest.mark.parametrize("db_per_second", [6.0, 12.0, 40.0])
def test_what_dies_away_is_a_one_shot(db_per_second: float) -> None:
    audio = sustained(196.0)
    gain = torch.pow(10.0, -db_per_second / 20.0 * torch.arange(len(audio)) / RATE)
    assert find_loop(audio * gain, 196.0, RATE) is None


def test_a_string_whose_treble_dies_away_is_a_one_shot_though_its_bass_rings() -> None:
    time = torch.arange(4 * RATE) / RATE
    partials = [torch.sin(math.tau * 55.0 * k * time) / k * torch.exp(-time * 0.15 * k) for k in range(1, 30)]
    assert find_loop(0.2 * torch.stack(partials).sum(0), 55.0, RATE) is None


@pytest.mark.parametrize("kind", ["burst", "silence", "short"])
def test_what_has_no_sustain_is_a_one_shot(kind: str) -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(3))
    audio = {
        "burst": 0.3 * noise * torch.exp(-torch.arange(RATE) / 3000),
        "silence": torch.zeros(RATE),
        "short": sustained(220.0, 0.5),
    }[kind]
    assert find_loop(audio, 220.0, RATE) is None


def test_a_slow_swell_is_evened_out_within_the_loop() -> None:
    audio = sustained(220.0)
    swell = torch.pow(10.0, 1.5 / 20.0 * torch.arange(len(audio)) / RATE)
    note = looped(audio * swell, 220.0)
    levels = levels_db(repeated(note, 20.0)[RATE:], 0.25)
    assert float(levels.max() - levels.min()) < 0.5


def test_both_channels_get_one_loop() -> None:
    left = sustained(220.0, noise=0.01)
    note = looped(torch.stack([left, 0.5 * left.roll(20)]), 220.0)
    assert note.audio.shape == (2, len(left))
    assert hold(note, 10 * RATE).shape == (2, 10 * RATE)


def test_the_callers_note_is_not_changed() -> None:
    audio = sustained(220.0)
    before = audio.clone()
    hold(looped(audio, 220.0), 8 * RATE)
    assert torch.equal(audio, before)


def test_a_note_is_shortened_by_fading_it_out() -> None:
    audio = sustained(220.0)
    short = shorten(audio, RATE, RATE)
    assert torch.equal(short[: RATE * 3 // 4], audio[: RATE * 3 // 4])
    assert short.shape == (RATE,)
    assert abs(float(short[-1])) < 1e-6
    assert bends(short).max() <= bends(audio[:RATE]).max()
    assert torch.equal(shorten(audio, 10 * RATE, RATE), audio)
    assert hold(looped(audio, 220.0), RATE).shape == (RATE,)


@settings(max_examples=10)
@given(st.integers(1, 12 * RATE), st.integers(0, 5))
def test_a_note_is_held_to_the_sample(n_samples: int, seed: int) -> None:
    note = looped(sustained(147.0, 1.6), 147.0)
    assert hold(note, n_samples, seed).shape == (n_samples,)


@given(st.integers(8, 4000))
def test_a_fade_between_like_signals_is_that_signal_and_is_exact_at_its_ends(n_samples: int) -> None:
    generator = torch.Generator().manual_seed(n_samples)
    one, other = torch.randn(2, n_samples, generator=generator)
    assert torch.allclose(crossfade(one, one, RATE), one, atol=1e-5)
    faded = crossfade(one, other, RATE)
    assert float(faded[0]) == pytest.approx(float(one[0]), abs=1e-4)
    assert float(faded[-1]) == pytest.approx(float(other[-1]), abs=1e-4)
