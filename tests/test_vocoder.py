"""What the envelopes say is what sounds: pitch to the cent, colour, noise, no clicks, the same every time."""

import math

import pytest
import torch
import torchaudio
from torch import Tensor

from hgs_cli.audio.mel import LogMel
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.vocoder import Vocoder
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    MODEL_SAMPLES,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    MelConfig,
    comb_power,
    level_to_power,
    mel_filters,
    mel_points_hz,
    noise_template,
)

SILENCE = torch.full((1, N_MELS, N_FRAMES), -1.0)


def sloping(batch: int = 1) -> Tensor:
    """Envelopes that fall by 40 dB over the mel range, (batch, N_MELS, N_FRAMES)."""
    slope = torch.linspace(0.6, -0.2, N_MELS)[None, :, None]
    return slope.expand(batch, -1, N_FRAMES).contiguous()


def steady(*pitches: float) -> Tensor:
    return torch.tensor(pitches)[:, None].expand(-1, N_FRAMES).contiguous()


def mean_power_db(x: Tensor) -> Tensor:
    """Power of every mel band in the middle of a log-mel (n_mels, n_frames), dB."""
    return 10.0 * torch.log10(level_to_power(x)[:, 20:-20].mean(1))


def test_mel_filters_are_those_of_torchaudio() -> None:
    filters = torchaudio.functional.melscale_fbanks(1025, 20.0, 20_000.0, 128, 44_100, None, "slaney")
    torch.testing.assert_close(mel_filters(MelConfig()), filters, atol=1e-4, rtol=0.0)
    points = mel_points_hz(MelConfig())
    assert float(points[0]) == pytest.approx(20.0)
    assert float(points[-1]) == pytest.approx(20_000.0)


@pytest.mark.parametrize("midi", [24.0, 45.0, 60.5, 84.0])
def test_harmonics_have_the_power_that_the_envelope_asks_for(vocoder: Vocoder, log_mel: LogMel, midi: float) -> None:
    e_h = sloping()
    x = log_mel(vocoder(e_h, SILENCE, steady(midi)))[0]
    template = comb_power(midi_to_hz(torch.tensor([midi])))[0] @ mel_filters(MelConfig())
    wanted = 10.0 * torch.log10(level_to_power(e_h[0, :, 100]) * template)
    audible = wanted > -70.0
    difference = (mean_power_db(x) - wanted)[audible]
    assert float(difference.abs().mean()) < 0.5
    assert float(difference.abs().max()) < 3.0


def test_noise_has_the_level_that_the_envelope_asks_for(vocoder: Vocoder, log_mel: LogMel) -> None:
    e_n = sloping()
    x = log_mel(vocoder(SILENCE, e_n, steady(60.0)))[0]
    heard = DB_PER_UNIT * (x[:, 20:-20].mean(1) - 1.0)
    wanted = 10.0 * torch.log10(level_to_power(e_n[0, :, 100]) * noise_template(mel_filters(MelConfig())))
    assert float((heard - wanted).abs().mean()) < 0.6
    assert float((heard - wanted).mean().abs()) < 0.6


def test_noise_does_not_flutter_twice(vocoder: Vocoder, log_mel: LogMel) -> None:
    """The envelope of a noise, measured, gives that noise again and not a rougher one."""
    noise = 0.05 * torch.randn(MODEL_SAMPLES, generator=torch.Generator().manual_seed(5))
    x = log_mel(noise[None])
    template = noise_template(mel_filters(MelConfig()))[None, :, None]
    e_n = (torch.log10(level_to_power(x) / template)) * (10.0 / DB_PER_UNIT) + 1.0
    again = log_mel(vocoder(SILENCE, e_n, steady(60.0)))
    spread, spread_again = (DB_PER_UNIT * mel[0, :, 20:-20].std(1).mean() for mel in (x, again))
    assert float(spread_again) < 1.15 * float(spread)
    assert DB_PER_UNIT * float((again - x)[..., 20:-20].abs().mean()) < 2.0


@pytest.mark.parametrize("midi", [28.0, 60.37, 99.0])
def test_the_pitch_is_exact_to_the_cent(vocoder: Vocoder, midi: float) -> None:
    audio = vocoder(sloping(), SILENCE, steady(midi))[0]
    # An independent measure: the phase of the fundamental against a cosine of the wanted frequency.
    f0_hz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    time = torch.arange(audio.shape[0], dtype=torch.float64) / SAMPLE_RATE
    turning = audio.double() * torch.polar(torch.ones_like(time), -2.0 * math.pi * f0_hz * time)
    first, last = turning[4096:36864].mean(), turning[-36864:-4096].mean()
    apart_s = (audio.shape[0] - 40960) / SAMPLE_RATE
    error_hz = float((last * first.conj()).angle()) / (2.0 * math.pi * apart_s)
    assert abs(1200.0 * math.log2(1.0 + error_hz / f0_hz)) < 0.5
    found = detect_pitch(audio)
    assert found.midi == pytest.approx(midi, abs=0.05)


def test_vibrato_of_the_contour_is_heard(vocoder: Vocoder) -> None:
    time = torch.arange(N_FRAMES) * 512 / SAMPLE_RATE
    cents = 30.0 * torch.sin(2.0 * math.pi * 5.0 * time)
    found = detect_pitch(vocoder(sloping(), SILENCE, 60.0 + cents[None] / 100.0)[0])
    assert float((found.pitch_contour_cents - cents)[10:-10].abs().mean()) < 6.0


def test_a_note_sounds_the_same_whoever_else_is_rendered(vocoder: Vocoder) -> None:
    e = sloping(3)
    together = vocoder(e, e - 0.3, steady(50.0, 60.0, 70.0), seed=3)
    alone = vocoder(e[:1], e[:1] - 0.3, steady(60.0), seed=3)
    assert torch.equal(together[1], alone[0])


def test_the_seed_alone_decides_what_is_random(vocoder: Vocoder) -> None:
    e = sloping()
    state = torch.random.get_rng_state()
    once, again, other = (vocoder(e, e, steady(60.0), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.allclose(once, other, atol=1e-3)
    assert torch.equal(state, torch.random.get_rng_state())


def test_harmonics_do_not_buzz(vocoder: Vocoder) -> None:
    audio = vocoder(sloping(), SILENCE, steady(48.0))[0]
    crest_db = 20.0 * math.log10(float(audio.abs().max() / audio.square().mean().sqrt()))
    assert crest_db < 14.0  # in phase the same harmonics stand above 17 dB


@pytest.mark.parametrize("midi", [72.0, 96.0])
def test_what_lies_below_and_between_harmonics_is_not_heard(vocoder: Vocoder, midi: float) -> None:
    """A network may put anything where no harmonic ever stood."""
    e_h = sloping()
    points = mel_points_hz(MelConfig())[1:-1]
    nearest = (points / midi_to_hz(torch.tensor(midi))).round().clamp(min=1.0)
    nowhere = (points - nearest * midi_to_hz(torch.tensor(midi))).abs() > 120.0
    absurd = torch.where(nowhere[None, :, None] & (points < 1500.0)[None, :, None], torch.tensor(5.0), e_h)
    plain, same = vocoder(e_h, SILENCE, steady(midi)), vocoder(absurd, SILENCE, steady(midi))
    assert float((plain - same).abs().max()) < 0.01 * float(plain.abs().max())


def test_the_floor_is_silence(vocoder: Vocoder) -> None:
    assert float(vocoder(SILENCE, SILENCE, steady(60.0)).abs().max()) == 0.0


def test_nothing_finite_becomes_not_finite(vocoder: Vocoder) -> None:
    e_h = 3.0 * torch.randn(1, N_MELS, N_FRAMES, generator=torch.Generator().manual_seed(0)).clamp(-2.0, 0.6)
    for midi in (0.0, 127.0):
        audio = vocoder(e_h, e_h, steady(midi))
        assert audio.shape == (1, MODEL_SAMPLES)
        assert bool(torch.isfinite(audio).all())


def test_mel_distance_to_the_formula_is_small_everywhere(vocoder: Vocoder, log_mel: LogMel) -> None:
    """The log-mel that losses and D see is the log-mel of what sounds, frame by frame."""
    e_h, e_n = sloping(), sloping() - 0.6
    midi = 57.0
    x = log_mel(vocoder(e_h, e_n, steady(midi)))[0]
    filters = mel_filters(MelConfig())
    template = comb_power(midi_to_hz(torch.tensor([midi])))[0] @ filters
    power = level_to_power(e_h[0]) * template[:, None] + level_to_power(e_n[0]) * filters.sum(0)[:, None]
    wanted = 10.0 * torch.log10(power)
    difference = ((x - 1.0) * DB_PER_UNIT - wanted)[:, 10:-10]
    assert float(difference.abs().mean()) < 2.0  # what remains is the noise_texture of noise between the harmonics


def spectrum_db(audio: Tensor) -> Tensor:
    """Levels of a long spectrum of the middle of a note (T,), one every 0.34 Hz."""
    part = audio[40_000:140_000]
    return 20.0 * torch.log10(torch.fft.rfft(part * torch.hann_window(len(part)), 2**17).abs() + 1e-9)


def test_noise_never_repeats(vocoder: Vocoder) -> None:
    audio = vocoder(SILENCE, torch.full_like(SILENCE, 0.2), steady(60.0))[0]
    spectrum = torch.fft.rfft(audio, 2 * MODEL_SAMPLES)
    correlation = torch.fft.irfft(spectrum.abs().square())[:MODEL_SAMPLES]
    overlap = 1.0 - torch.arange(MODEL_SAMPLES) / MODEL_SAMPLES
    late = (correlation / correlation[0])[2048 : MODEL_SAMPLES - SAMPLE_RATE // 2]
    assert float((late / overlap[2048 : MODEL_SAMPLES - SAMPLE_RATE // 2]).abs().max()) < 0.05


@pytest.mark.parametrize("midi", [40.0, 67.0, 90.0])
def test_nothing_sounds_above_the_band_of_the_envelopes(vocoder: Vocoder, midi: float) -> None:
    """What stops at 7 kHz, as a recording at 16 kHz does, stops at 7 kHz."""
    e = torch.where((mel_points_hz(MelConfig())[1:-1] > 7000.0)[None, :, None], torch.tensor(-1.0), sloping())
    above = slice(round(8000.0 * 2**17 / SAMPLE_RATE), None)
    level = spectrum_db(vocoder(e.float(), e.float() - 0.3, steady(midi))[0])
    assert float(level[above].max() - level.max()) < -60.0
