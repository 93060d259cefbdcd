"""What G could not say of an input restores it at its own pitch, and travels; a drum drawn as tone is a clear note."""

import math
from pathlib import Path

import pytest
import torch
from conftest import RECORDINGS, SNARE
from torch import Tensor

from hgs_cli.audio.io import read_audio
from hgs_cli.audio.mel import LogMel
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.evaluation.measures import track_pitch
from hgs_cli.models.detail_transfer import Detail, DetailTransfer
from hgs_cli.models.generator import Envelopes
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.weights import build_model
from hgs_cli.pitch import midi_to_hz
from hgs_cli.sampler.detail import SourceDetail, measure_detail, split, transfer_detail
from hgs_cli.sampler.tone import apply_tonal
from hgs_cli.sampler.vocoder import Vocoder
from hgs_cli.spectrum import (
    DB_PER_UNIT,
    MODEL_SAMPLES,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    MelConfig,
    front_end_comb,
    front_end_noise,
    level_to_power,
    mel_filters,
    noise_log_mean,
    power_to_level,
)

UNTRAINED = DetailTransfer(tiny_config().detail_transfer)


def pluck(midi: float, onset_s: float = 0.2) -> Tensor:
    """A string-like note: harmonics that decay the faster the higher they are, a noisy attack, at 0 dB, (T,)."""
    generator = torch.Generator().manual_seed(int(midi))
    time = torch.arange(MODEL_SAMPLES, dtype=torch.float64) / SAMPLE_RATE - onset_s
    f0_hz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    total = torch.zeros_like(time)
    for k in range(1, min(40, int(18_000 / f0_hz))):
        odd = 1.0 if k % 2 else 0.35  # a harmonic-to-harmonic pattern, as of a string plucked in its middle
        total += (
            odd / k * torch.exp(-time.clamp(min=0.0) * (1.0 + 0.3 * k)) * torch.cos(math.tau * k * f0_hz * time + k * k)
        )
    total += torch.randn(MODEL_SAMPLES, generator=generator) * (0.5 * torch.exp(-time.clamp(min=0.0) * 60.0) + 0.003)
    return 0.3 * (total * (time >= 0.0)).float()


def snare() -> Tensor:
    """A burst of noise over a short thump, (T,)."""
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(MODEL_SAMPLES, dtype=torch.float64) / SAMPLE_RATE - 0.05
    noise = torch.randn(MODEL_SAMPLES, generator=generator, dtype=torch.float64) * torch.exp(-time * 9.0)
    thump = torch.sin(math.tau * 187.0 * time) * torch.exp(-time * 25.0)
    return (0.2 * (noise + thump) * (time >= 0.0)).float()


def flat(batch: int = 1) -> Envelopes:
    """Envelopes of a network that knows nothing: a slope, the same at every time and pitch."""
    slope = torch.linspace(0.6, -0.4, N_MELS)[None, :, None].expand(batch, -1, N_FRAMES).contiguous()
    return Envelopes(slope, slope - 0.5)


def analysed(log_mel: LogMel, audio: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Log-mel and periodicity of audio (T,)."""
    return log_mel(audio[None])[0], measure_periodicity(audio, midi_to_hz(torch.full((N_FRAMES,), p)))


def compose(envelopes: Envelopes, p: float) -> Tensor:
    """x̂ by the formula, (n_mels, n_frames)."""
    power = level_to_power(envelopes.harmonic[0]) * front_end_comb(torch.tensor([p]))[0][:, None]
    return power_to_level(power + level_to_power(envelopes.noise_part[0]) * front_end_noise()[:, None])


def transferred(
    detail: Detail, known: Envelopes, first: Envelopes, source: float | None, pitch: Tensor, amount: float
) -> Envelopes:
    """Detail at other pitches by a transfer that has learnt nothing yet."""
    with torch.no_grad():
        return transfer_detail(UNTRAINED, SourceDetail(source, detail, known), first, pitch, amount)


def test_templates_are_the_generators_own() -> None:
    generator = build_model(tiny_config()).generator
    pitch = torch.tensor([33.0, 60.4])
    torch.testing.assert_close(front_end_comb(pitch), generator.comb_template(pitch), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        front_end_noise(), generator.noise_template() * noise_log_mean(generator.filters), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("p", [33.0, 57.0, 81.0])
def test_the_input_is_restored_at_its_own_pitch(log_mel: LogMel, p: float) -> None:
    audio = pluck(p)
    x, periodicity = analysed(log_mel, audio, p)
    for first in (flat(), Envelopes(flat().harmonic - 0.3, flat().noise_part + 0.6)):
        detail = measure_detail(x, periodicity, p, first)
        restored = compose(transferred(detail, first, first, p, torch.tensor([p]), 1.0), p)
        floor = -0.8
        difference = DB_PER_UNIT * (restored.clamp(min=floor) - x.clamp(min=floor)).abs()
        assert float(difference.mean()) < 0.3


@pytest.mark.parametrize("p", [45.0, 57.0, 76.0])
def test_the_restored_input_sounds_like_the_input(log_mel: LogMel, vocoder: Vocoder, p: float) -> None:
    audio = pluck(p)
    x, periodicity = analysed(log_mel, audio, p)
    detail = measure_detail(x, periodicity, p, flat())
    envelopes = transferred(detail, flat(), flat(), p, torch.tensor([p]), 1.0)
    heard = vocoder(envelopes.harmonic, envelopes.noise_part, torch.full((1, N_FRAMES), p))
    floor = float(x.max()) - 70.0 / DB_PER_UNIT
    difference = DB_PER_UNIT * (log_mel(heard)[0].clamp(min=floor) - x.clamp(min=floor)).abs()
    assert float(difference.mean()) < 2.0


def test_no_detail_leaves_the_network_alone(log_mel: LogMel) -> None:
    audio = pluck(57.0)
    x, periodicity = analysed(log_mel, audio, 57.0)
    first = flat(2)
    detail = measure_detail(x, periodicity, 57.0, flat())
    result = transferred(detail, flat(), first, 57.0, torch.tensor([57.0, 60.0]), 0.0)
    assert torch.equal(result.harmonic, first.harmonic)
    assert torch.equal(result.noise_part, first.noise_part)


def test_a_note_does_not_depend_on_the_others(log_mel: LogMel) -> None:
    audio = pluck(57.0)
    x, periodicity = analysed(log_mel, audio, 57.0)
    detail = measure_detail(x, periodicity, 57.0, flat())
    together = transferred(detail, flat(), flat(3), 57.0, torch.tensor([50.0, 57.0, 71.0]), 1.0)
    alone = transferred(detail, flat(), flat(1), 57.0, torch.tensor([71.0]), 1.0)
    torch.testing.assert_close(together.harmonic[2:], alone.harmonic)
    torch.testing.assert_close(together.noise_part[2:], alone.noise_part)


def test_harmonics_keep_their_own_strength_nearby(log_mel: LogMel) -> None:
    """The weak second harmonic of the source is the weak second harmonic of the note above it."""
    p, q = 69.0, 71.0
    audio = pluck(p)
    x, periodicity = analysed(log_mel, audio, p)
    detail = measure_detail(x, periodicity, p, flat())
    envelopes = transferred(detail, flat(), flat(), p, torch.tensor([q]), 1.0)
    frame = 60
    harmonics = [
        int((mel_filters(MelConfig())[round(k * 440.0 * 2 ** (2 / 12) / SAMPLE_RATE * 2048)]).argmax())
        for k in (1, 2, 3)
    ]
    first, second, third = (float(envelopes.harmonic[0, band, frame]) for band in harmonics)
    assert DB_PER_UNIT * (0.5 * (first + third) - second) > 3.0


@pytest.mark.parametrize("q", [48.0, 60.0, 72.0])
def test_a_drum_becomes_a_clear_note(log_mel: LogMel, vocoder: Vocoder, q: float) -> None:
    audio = snare()
    x = log_mel(audio[None])[0]
    detail = measure_detail(x, torch.zeros(32, 88), None, flat())
    envelopes = transferred(detail, flat(), flat(), None, torch.tensor([q]), 1.0)
    tonal = apply_tonal(envelopes, torch.tensor([q]), None)
    heard = vocoder(tonal.harmonic, tonal.noise_part, torch.full((1, N_FRAMES), q))[0]
    found = detect_pitch(heard)
    assert found.midi == pytest.approx(q, abs=0.5)

    silence = torch.full_like(tonal.harmonic, -1.0)
    pitch = torch.full((1, N_FRAMES), q)
    window = torch.hann_window(2048)

    def band_energy(sound: Tensor) -> float:
        power = torch.stft(sound, 2048, 512, window=window, return_complex=True).abs().square()
        return float(power[5:233].sum())  # 0.1 to 5 kHz

    tone = band_energy(vocoder(tonal.harmonic, silence, pitch)[0])
    noise = band_energy(vocoder(silence, tonal.noise_part, pitch)[0])
    assert 10.0 * math.log10(tone / noise) > 6.0


def drum_notes(log_mel: LogMel, vocoder: Vocoder, path: Path, pitches: Tensor) -> Tensor:
    """A drum from a file as notes, by a network that knows nothing, (B, MODEL_SAMPLES)."""
    audio = read_audio(path).audio
    audio = audio * 10.0 ** ((1.0 - float(log_mel(audio[None]).max())) * DB_PER_UNIT / 20.0)
    detail = measure_detail(log_mel(audio[None])[0], torch.zeros(32, 88), None, flat())
    envelopes = apply_tonal(transferred(detail, flat(), flat(len(pitches)), None, pitches, 1.0), pitches, None)
    contour = pitches[:, None].expand(-1, N_FRAMES)
    return vocoder(envelopes.harmonic, envelopes.noise_part, contour)


def hit(heard: float | None, wanted: float) -> bool:
    return heard is not None and abs(heard - wanted) < 0.5


def test_the_snare_of_the_readme_is_a_clear_note_on_every_key(log_mel: LogMel, vocoder: Vocoder) -> None:
    pitches = torch.arange(48.0, 73.0)
    notes = drum_notes(log_mel, vocoder, SNARE, pitches)
    for tracker in (lambda note: detect_pitch(note).midi, track_pitch):
        heard = [tracker(note) for note in notes]
        assert sum(hit(midi, float(q)) for midi, q in zip(heard, pitches, strict=True)) >= 23


@pytest.mark.real
@pytest.mark.parametrize("name", ["gogodze-snare-edge", "gogodze-side-stick", "gogodze-tom-low", "gogodze-hat-open"])
def test_real_drums_are_clear_notes(log_mel: LogMel, vocoder: Vocoder, name: str) -> None:
    pitches = torch.tensor([48.0, 53.0, 57.0, 60.0, 66.0, 72.0])
    notes = drum_notes(log_mel, vocoder, RECORDINGS / "real" / "oneshots" / f"{name}.flac", pitches)
    heard = [detect_pitch(note).midi for note in notes]
    assert all(hit(midi, float(q)) for midi, q in zip(heard, pitches, strict=True))


def test_a_drum_keeps_its_envelope_and_colour(log_mel: LogMel, vocoder: Vocoder) -> None:
    audio = snare()
    x = log_mel(audio[None])[0]
    detail = measure_detail(x, torch.zeros(32, 88), None, flat())
    envelopes = transferred(detail, flat(), flat(), None, torch.tensor([60.0]), 1.0)
    tonal = apply_tonal(envelopes, torch.tensor([60.0]), None)
    heard = log_mel(vocoder(tonal.harmonic, tonal.noise_part, torch.full((1, N_FRAMES), 60.0)))[0]

    def bands_db(level: Tensor) -> Tensor:
        """Power in eight bands over time, (8, n_frames), dB; above the fundamental, below which nothing may stay."""
        return 10.0 * torch.log10(level_to_power(level)[16:].unflatten(0, (8, -1)).sum(1).unfold(1, 8, 8).mean(2))

    before, after = bands_db(x), bands_db(heard)
    loud = before > before.max() - 40.0
    assert float((after - before)[loud].abs().mean()) < 2.5


def test_tonal_zero_changes_nothing_and_one_leaves_no_noise() -> None:
    envelopes = flat(2)
    pitch = torch.tensor([48.0, 60.0])
    assert apply_tonal(envelopes, pitch, 0.0) is envelopes
    all_tone = apply_tonal(envelopes, pitch, 1.0)
    assert float(all_tone.noise_part.max()) < -0.99


def test_split_gives_the_input_back_exactly(log_mel: LogMel) -> None:
    x, periodicity = analysed(log_mel, pluck(50.0), 50.0)
    e_h, e_n, share = split(x[None], periodicity[None], torch.tensor([50.0]))
    restored = compose(Envelopes(e_h, e_n), 50.0)
    audible = x > -0.9
    assert float((DB_PER_UNIT * (restored - x))[audible].abs().max()) < 0.2
    assert 0.0 <= float(share.min()) <= float(share.max()) <= 1.0


def test_details_of_any_size_stay_finite(log_mel: LogMel) -> None:
    silent = torch.full((N_MELS, N_FRAMES), -1.0)
    for p in (10.0, 60.0, 120.0, None):
        detail = measure_detail(silent, torch.zeros(32, 88), p, flat())
        assert isinstance(detail, Detail)
        result = transferred(detail, flat(), flat(2), p, torch.tensor([0.0, 127.0]), 1.0)
        tonal = apply_tonal(result, torch.tensor([0.0, 127.0]), None)
        for value in (result.harmonic, result.noise_part, tonal.harmonic, tonal.noise_part):
            assert bool(torch.isfinite(value).all())
