"""The partials of strings stand where their stiffness puts them, and those of everything else at the harmonics."""

import math

import pytest
import torch
from torch import Tensor

from hgs_cli.audio.mel import LogMel, mel_filters
from hgs_cli.audio.periodicity import measure_periodicity
from hgs_cli.models.detail import measure_detail, transfer_detail
from hgs_cli.models.detail_transfer import DetailTransfer
from hgs_cli.models.generator import Envelopes
from hgs_cli.models.hyperganstrument import tiny_config
from hgs_cli.models.stretch import MOST_STRETCH, Stretch, measure_stretch
from hgs_cli.models.vocoder import Vocoder
from hgs_cli.pipeline import Model, Settings, invert, render
from hgs_cli.spectrum import (
    MODEL_SAMPLES,
    N_FRAMES,
    N_MELS,
    SAMPLE_RATE,
    MelConfig,
    midi_to_hz,
    partial_number,
    partial_ratio,
)


def string(midi: float, stretch: float, seconds: float = 2.0, top_hz: float = 12_000.0) -> Tensor:
    """A struck string with a little noise, (T,)."""
    generator = torch.Generator().manual_seed(int(midi))
    time = torch.arange(int(seconds * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    f1_hz = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)
    total = torch.zeros_like(time)
    for k in range(1, 60):
        hz = float(f1_hz * partial_ratio(torch.tensor(float(k)), stretch))
        if hz < top_hz:
            total += torch.exp(-time * (1.0 + 0.1 * k)) / k * torch.cos(math.tau * (hz * time + 0.37 * k * k))
    noise = 0.001 * torch.randn(len(time), generator=generator, dtype=torch.float64)
    return (0.3 * (total + noise)).float()


@pytest.mark.parametrize("stretch", [1e-5, 3e-4, 5e-3])
def test_the_number_of_a_partial_is_found_from_its_frequency(stretch: float) -> None:
    number = torch.arange(1.0, 60.0, dtype=torch.float64)
    torch.testing.assert_close(partial_number(partial_ratio(number, stretch), stretch), number)
    assert torch.equal(partial_ratio(number, 0.0), number)


@pytest.mark.parametrize(("midi", "stretch"), [(36.0, 1e-4), (48.3, 1.6e-4), (60.0, 4e-4), (70.0, 8e-4)])
def test_the_stretch_of_a_string_is_found(midi: float, stretch: float) -> None:
    found = measure_stretch(string(midi, stretch), midi)
    assert found is not None
    assert found.coefficient == pytest.approx(stretch, rel=0.15)
    assert -3.0 <= found.cents <= 0.0


@pytest.mark.parametrize("midi", [36.0, 60.0, 81.0])
def test_a_harmonic_sound_is_not_stretched(midi: float) -> None:
    assert measure_stretch(string(midi, 0.0), midi) is None


def test_noise_vibrato_and_bars_are_not_stretched() -> None:
    time = torch.arange(2 * SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    assert measure_stretch(noise, 60.0) is None
    phase = 261.6 * time + 261.6 * 0.012 / (math.tau * 5.5) * torch.sin(math.tau * 5.5 * time)
    vibrato = sum(torch.cos(math.tau * k * phase + k * k) / k for k in range(1, 30))
    assert measure_stretch(torch.as_tensor(vibrato).float(), 60.0) is None
    bar = sum(torch.cos(math.tau * 261.6 * r * time) * torch.exp(-r * time) for r in (1.0, 3.98, 9.2, 16.5, 25.0))
    assert measure_stretch(torch.as_tensor(bar).float() + 0.001 * noise, 60.0) is None


def test_too_short_a_sound_is_not_an_error() -> None:
    assert measure_stretch(torch.zeros(100), 60.0) is None


def test_a_shorter_string_is_stretched_more() -> None:
    stretch = Stretch(2e-4, -8.0)
    assert stretch.at(48.0, 60.0) == Stretch(4e-4, -4.0)
    assert stretch.at(48.0, 36.0) == Stretch(1e-4, -8.0)
    assert stretch.at(48.0, 127.0).coefficient == MOST_STRETCH


def test_the_partials_of_a_recorded_string_stay_tones_at_other_pitches() -> None:
    """High partials of a piano, a quarter of a spacing and more above the harmonics, stood in noise before."""
    midi = 48.0
    audio = torch.nn.functional.pad(string(midi, 4e-4, seconds=4.0), (2000, 0))[:MODEL_SAMPLES]
    x = LogMel()(audio[None])[0]
    periodicity = measure_periodicity(audio, midi_to_hz(torch.full((N_FRAMES,), midi)))
    slope = torch.linspace(0.2, -0.6, N_MELS)[None, :, None].expand(1, -1, N_FRAMES)
    first = Envelopes(slope, slope - 0.4)
    detail = measure_detail(x, audio, periodicity, midi, Envelopes(slope[0], slope[0] - 0.4))
    transfer = DetailTransfer(tiny_config().detail_transfer).requires_grad_(False)
    restored = transfer_detail(transfer, detail, first, first, midi, torch.tensor([midi]))
    vocoder = Vocoder(mel_filters(MelConfig()))
    stretch = detail.stretch_at(midi, midi)
    assert stretch is not None

    def heard_db(stretches: list[Stretch | None]) -> Tensor:
        """Mean level of the real partials 12-24 above the median around them."""
        pitch = torch.full((1, N_FRAMES), midi)
        note = vocoder(restored.harmonic, restored.noise_part, pitch, stretches=stretches)[0][8000:74_000]
        level = 20.0 * torch.log10(torch.fft.rfft(note * torch.hann_window(len(note)), 2**17).abs() + 1e-9)
        f1_hz, bin_hz = float(midi_to_hz(torch.tensor(midi))), SAMPLE_RATE / 2**17
        heights = []
        for k in range(12, 25):
            hz = f1_hz * float(partial_ratio(torch.tensor(float(k)), 4e-4))
            near = level[round((hz - 8.0) / bin_hz) : round((hz + 8.0) / bin_hz)].max()
            heights.append(near - level[round((hz - 60.0) / bin_hz) : round((hz + 60.0) / bin_hz)].median())
        return torch.stack(heights)

    assert float(heard_db([stretch]).mean()) > 25.0
    assert float(heard_db([None]).mean()) < 15.0


@pytest.mark.parametrize("midi", [48.0, 55.0])
def test_notes_of_a_string_have_its_stretched_partials_and_without_detail_harmonics(model: Model, midi: float) -> None:
    played = invert(model, string(48.0, 4e-4, seconds=3.0), SAMPLE_RATE, pitch=48.0)
    f1_hz, bin_hz = float(midi_to_hz(torch.tensor(midi))), SAMPLE_RATE / 2**18

    def fourteenth(settings: Settings) -> float:
        """Where the strongest partial about the fourteenth stands, in harmonics."""
        note = render(model, played, [midi], settings).audio.flatten()[8000:74_000]
        level = torch.fft.rfft(note * torch.hann_window(len(note)), 2**18).abs()
        low, high = int(13.6 * f1_hz / bin_hz), int(15.2 * f1_hz / bin_hz)
        return (low + int(level[low:high].argmax())) * bin_hz / f1_hz

    stretch = Stretch(4e-4, 0.0).at(48.0, midi).coefficient
    assert fourteenth(Settings()) == pytest.approx(float(partial_ratio(torch.tensor(14.0), stretch)), abs=0.05)
    assert fourteenth(Settings(detail=0.0)) == pytest.approx(14.0, abs=0.05)
