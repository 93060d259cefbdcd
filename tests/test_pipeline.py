"""From one sound to notes: what stays, what changes, and what the numbers promise."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import SNARE, tone

from hgs_cli.audio.io import read_audio
from hgs_cli.audio.loudness import GAIN, measure_lufs, peak_db
from hgs_cli.audio.source_pitch import detect_pitch
from hgs_cli.errors import InputError, UsageError
from hgs_cli.inversion import Inversion
from hgs_cli.pipeline import (
    Listening,
    Model,
    Settings,
    invert,
    load_model,
    make_instrument,
    mix,
    mix_instruments,
    open_sound,
    reconstruct,
    render,
    synthesize,
)
from hgs_cli.sampler import playing
from hgs_cli.sampler.dynamics import layer_softness
from hgs_cli.spectrum import SAMPLE_RATE


def inverted(model: Model, samples: np.ndarray, **options: object) -> Inversion:
    return invert(model, torch.from_numpy(samples), SAMPLE_RATE, **options)  # type: ignore[arg-type]


def noise(seconds: float = 0.3) -> np.ndarray:
    n = round(seconds * SAMPLE_RATE)
    samples = 0.3 * np.random.default_rng(7).standard_normal(n) * np.exp(-np.arange(n) / 4000)
    return samples.clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def note(model: Model) -> Inversion:
    return inverted(model, tone())


@pytest.fixture(scope="module")
def hit(model: Model) -> Inversion:
    return inverted(model, noise())


def test_the_source_pitch_is_found_given_or_denied(model: Model, note: Inversion, hit: Inversion) -> None:
    assert note.source_pitch == pytest.approx(57.0, abs=0.1)
    assert hit.source_pitch is None
    assert inverted(model, tone(), pitch=None).source_pitch is None
    assert inverted(model, noise(), pitch=50.0).source_pitch == pytest.approx(50.0, abs=1.0)


def test_an_octave_away_a_note_is_as_if_h_had_said_nothing(model: Model) -> None:
    with_h, without = (inverted(model, tone(), passes=passes) for passes in (1, 0))
    assert with_h.source_pitch is not None
    for interval, same in ((12.0, True), (-14.0, True), (2.0, False)):
        pitches = [with_h.source_pitch + interval]
        notes = [
            synthesize(model, make_instrument(model, one), pitches, Settings(detail=0.0)) for one in (with_h, without)
        ]
        assert torch.allclose(notes[0], notes[1], atol=1e-5) == same


def test_the_repositorys_snare_has_no_pitch() -> None:
    assert detect_pitch(read_audio(SNARE).audio).midi is None


@pytest.mark.parametrize("pitch", [45.0, 57.0, 60.5, 64.25])
def test_render_keeps_the_requested_pitch(model: Model, note: Inversion, pitch: float) -> None:
    audio = render(model, note, [pitch]).audio[0]
    spectrum = torch.fft.rfft(audio * torch.hann_window(audio.shape[0]), 2**19).abs()
    f0_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    bins = torch.arange(spectrum.shape[0]) * SAMPLE_RATE / 2**19
    near = (bins > f0_hz * 0.94) & (bins < f0_hz * 1.06)
    heard = bins[near][spectrum[near].argmax()]
    assert abs(1200 * np.log2(float(heard) / f0_hz)) < 10


def test_with_its_detail_a_sound_is_reconstructed_whatever_the_networks_say(model: Model, note: Inversion) -> None:
    heard = reconstruct(model, note)
    assert heard.distance_db(heard.detailed) < 2.0
    assert heard.distance_db(heard.detailed) < 0.5 * heard.distance_db(heard.x_hat)
    assert heard.distance_db(heard.mel) == 0.0


def test_no_passes_leave_the_first_reconstruction_as_it_is(model: Model) -> None:
    plain = inverted(model, tone(), passes=0)
    assert plain.offsets == {}
    heard = reconstruct(model, plain)
    assert torch.equal(heard.x_init, heard.x_hat)


def test_passes_change_the_reconstruction(model: Model, note: Inversion) -> None:
    heard = reconstruct(model, note)
    assert not torch.equal(heard.x_init, heard.x_hat)


def test_the_same_seed_gives_the_same_notes_and_another_does_not(model: Model, note: Inversion) -> None:
    first, same, other = (render(model, note, [60], Settings(seed=seed)).audio for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_note_is_the_same_whoever_is_rendered_with_it(model: Model, note: Inversion) -> None:
    alone = render(model, note, [60])
    together = render(model, note, [48, 60, 72])
    assert torch.allclose(alone.audio[0], together.audio[1], atol=1e-4)
    assert alone.gain_db == together.gain_db


def test_many_notes_are_made_in_batches_without_a_seam(
    model: Model, note: Inversion, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = render(model, note, [50, 55, 60])
    monkeypatch.setattr(playing, "BATCH_NOTES", 2)
    assert torch.allclose(render(model, note, [50, 55, 60]).audio, whole.audio, atol=1e-4)


def test_the_length_of_the_sound_is_kept(model: Model, note: Inversion) -> None:
    assert render(model, note, [40, 60]).audio.shape == (2, tone().size)
    long = inverted(model, tone(seconds=5.0))
    assert render(model, long, [60]).audio.shape == (1, 5 * SAMPLE_RATE)


def test_what_is_not_read_of_a_sound_is_said(model: Model, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", tone(seconds=5.0), SAMPLE_RATE)
    said: list[str] = []
    cropped = open_sound(model, tmp_path / "long.wav", Listening(max_seconds=2.0), said.append)
    assert [line.endswith("long.wav is longer than 2 s; its last 3.00 s are not used") for line in said] == [True]
    assert cropped.cropped
    audio = render(model, cropped, [57.0]).audio[0]
    assert audio.shape == (2 * SAMPLE_RATE,)
    assert float(audio[-100:].abs().max()) < 0.01 * float(audio[-30_000:-20_000].abs().max())  # it fades


def test_notes_end_in_silence_without_a_click(model: Model) -> None:
    steady = np.sin(np.arange(20_000) * 0.05).astype(np.float32)
    audio = render(model, inverted(model, steady), [60]).audio[0]
    assert abs(float(audio[-1])) < 1e-6
    assert float(audio[-20:].abs().max()) < 0.05 * float(audio.abs().max())


def test_notes_begin_without_a_click_where_the_sound_begins_at_once(model: Model) -> None:
    """No step at the beginning, nor one anywhere that is larger than the steps of the note itself."""
    abrupt = (0.5 * np.cos(np.arange(30_000) * 0.03) * np.exp(-np.arange(30_000) / 8000)).astype(np.float32)
    for audio in render(model, inverted(model, abrupt), [36, 48, 60]).audio:
        steps = audio.diff().abs()
        assert abs(float(audio[0])) < 1e-6
        assert float(steps[:4].max()) < 0.01 * float(audio.abs().max())
        assert float(steps[:64].max()) <= 1.2 * float(steps[64:8000].max())


def test_one_gain_serves_all_notes_and_keeps_headroom(model: Model, note: Inversion) -> None:
    for normalize in ("lufs", "peak"):
        references = render(model, note, [45.0, 57.0, 69.0], Settings(normalize=normalize))
        assert peak_db(references.audio) <= -GAIN.headroom_db + 0.5
        assert references.lowered_db == 0.0


def test_loudness_asked_for_is_loudness_measured_over_the_reference_notes(model: Model, note: Inversion) -> None:
    assert note.source_pitch is not None
    pitches = [note.source_pitch + interval for interval in (-12, 0, 12)]
    notes = render(model, note, pitches, Settings(lufs=-35.0)).audio
    assert np.median([measure_lufs(one) for one in notes]) == pytest.approx(-35.0, abs=0.1)


def test_neighbouring_keys_are_equally_loud_the_sounds_own_included(
    model: Model, note: Inversion, hit: Inversion
) -> None:
    for inversion in (note, hit):
        notes = render(model, inversion, [float(key) for key in range(52, 64)]).notes
        lufs = [measure_lufs(each.audio) for each in notes]
        assert max(lufs) - min(lufs) < 0.5


def test_naturally_loud_keys_rise_or_fall_evenly(model: Model, note: Inversion) -> None:
    notes = render(model, note, [float(key) for key in range(45, 70)], Settings(level="natural")).notes
    lufs = np.array([measure_lufs(each.audio) for each in notes])
    slope, start = np.polyfit(range(len(lufs)), lufs, 1)
    assert 0.01 < abs(slope) <= 0.5
    assert np.abs(np.diff(lufs)).max() <= 0.5
    assert np.abs(lufs - slope * np.arange(len(lufs)) - start).max() < 0.3


def test_a_darker_layer_is_as_loud_as_the_one_above_it(model: Model, note: Inversion) -> None:
    lufs = [
        measure_lufs(render(model, note, [60.0], Settings(softness=softness)).notes[0].audio)
        for softness in layer_softness(4)
    ]
    assert max(lufs) - min(lufs) < 0.3


def test_without_normalising_a_sound_keeps_its_own_level(model: Model) -> None:
    loud, quiet = (inverted(model, gain * tone()) for gain in (1.0, 0.1))
    plain = Settings(normalize="none")
    loud_db, quiet_db = (peak_db(render(model, one, [57.0], plain).audio) for one in (loud, quiet))
    assert loud_db - quiet_db == pytest.approx(20.0, abs=0.3)


def test_notes_that_would_clip_are_lowered_together(model: Model, note: Inversion) -> None:
    hot = replace(note, reference_peak_db=note.reference_peak_db - 60.0)
    asked = render(model, note, [50, 57])
    lowered = render(model, hot, [50, 57], Settings(lufs=10.0))
    assert lowered.lowered_db < 0.0
    assert peak_db(lowered.audio) == pytest.approx(-0.1, abs=1e-3)
    ratio = lowered.audio / lowered.audio.abs().max() - asked.audio / asked.audio.abs().max()
    assert float(ratio.abs().max()) < 1e-4


def test_how_loud_the_input_is_changes_nothing_but_its_own_level(model: Model) -> None:
    loud, quiet = (render(model, inverted(model, gain * tone()), [60]).audio for gain in (1.0, 0.01))
    assert torch.allclose(loud, quiet, atol=3e-2 * float(loud.abs().max()))


@pytest.mark.parametrize(
    "settings",
    [Settings(detail=0.0), Settings(detail=0.5), Settings(variation=1.0), Settings(tonal=1.0)],
    ids=["detail 0", "detail 0.5", "variation", "tonal"],
)
def test_every_setting_is_heard(model: Model, hit: Inversion, settings: Settings) -> None:
    plain, changed = (render(model, hit, [60], one).audio for one in (Settings(), settings))
    assert float((plain - changed).abs().max()) > 1e-3
    assert bool(torch.isfinite(changed).all())


def test_vibrato_is_kept_or_flattened(model: Model, note: Inversion) -> None:
    wobbling = replace(note, pitch_contour_cents=30.0 * torch.sin(torch.arange(352) * 0.4))
    kept, flat = (render(model, wobbling, [60], Settings(keep_vibrato=keep)).audio for keep in (True, False))
    assert float((kept - flat).abs().max()) > 1e-3
    drawn = [replace(one, recording=None) for one in (wobbling, note)]  # without a recording, no vibrato is the same
    flat, steady = (render(model, one, [60], Settings(keep_vibrato=False)).audio for one in drawn)
    assert torch.equal(flat, steady)


def test_a_burst_that_networks_and_detail_make_together_is_held_down(model: Model, note: Inversion) -> None:
    bursting = note.detail.harmonic.clone()
    bursting[:, 20:30] += 2.0  # 100 dB that the generator would have to take back, and does not
    broken = replace(note, detail=replace(note.detail, harmonic=bursting))
    own = synthesize(model, make_instrument(model, note), [57.0], Settings())
    held = synthesize(model, make_instrument(model, broken), [58.0], Settings())
    assert peak_db(held) < peak_db(own) + 10.0


def test_an_unpitched_sound_is_given_a_tone_and_a_pitched_one_is_left(
    model: Model, note: Inversion, hit: Inversion
) -> None:
    for inversion, changes in ((hit, True), (note, False)):
        auto, none = (render(model, inversion, [60], Settings(tonal=tonal)).audio for tonal in (None, 0.0))
        assert torch.equal(auto, none) is not changes


# --- mix ------------------------------------------------------------------------------------------------------------


def test_the_end_points_of_a_mix_are_the_plain_instruments(model: Model, note: Inversion, hit: Inversion) -> None:
    for shares, inversion in (([1.0, 0.0], note), ([0.0, 1.0], hit)):
        assert torch.equal(mix(model, [note, hit], shares, [60]).audio, render(model, inversion, [60]).audio)


def test_a_sound_mixed_with_itself_is_that_sound(model: Model, note: Inversion) -> None:
    plain = render(model, note, [52, 60]).audio
    mixed = mix(model, [note, note], [0.3, 0.7], [52, 60]).audio
    assert float((mixed - plain).abs().max()) < 0.02 * float(plain.abs().max())


def test_the_order_of_a_mix_does_not_matter(model: Model, note: Inversion, hit: Inversion) -> None:
    one, other = (mix(model, *both, [60]).audio for both in (([note, hit], [0.3, 0.7]), ([hit, note], [0.7, 0.3])))
    assert torch.allclose(one, other, atol=1e-3 * float(one.abs().max()))


def test_a_mix_is_neither_of_its_sounds(model: Model, note: Inversion, hit: Inversion) -> None:
    half = mix(model, [note, hit], [1, 1], [60])
    assert half.audio.shape[-1] == round((tone().size + noise().size) / 2)
    n = min(tone().size, noise().size)
    for inversion in (note, hit):
        plain = render(model, inversion, [60]).audio[:, :n]
        assert float((half.audio[:, :n] - plain).abs().max()) > 1e-2


@pytest.mark.parametrize("shares", [[1.0], [0.0, 0.0], [-1.0, 2.0]])
def test_shares_that_make_no_mix_are_refused(model: Model, note: Inversion, shares: list[float]) -> None:
    with pytest.raises(UsageError, match="share"):
        mix_instruments(model, [note, note], shares)


# --- manners --------------------------------------------------------------------------------------------------------


def test_the_callers_sound_and_the_random_state_are_left_alone(model: Model) -> None:
    audio = torch.from_numpy(tone())
    before = audio.clone()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    render(model, invert(model, audio, SAMPLE_RATE), [60], Settings(variation=0.5))
    assert torch.equal(audio, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "samples",
    [
        np.sign(np.sin(np.arange(20_000) * 0.03)),
        1e-4 * np.random.default_rng(0).standard_normal(20_000),
        50.0 * tone(),
        np.eye(1, 20_000, 100)[0],
        np.sin(np.arange(441) * 0.1),
        0.5 + 0.1 * tone(40.0),
    ],
    ids=["square", "hiss", "over full scale", "click", "ten milliseconds", "with an offset"],
)
def test_odd_sounds_give_finite_notes(model: Model, samples: np.ndarray) -> None:
    rendered = render(model, inverted(model, samples.astype(np.float32)), [21, 60, 108])
    assert bool(torch.isfinite(rendered.audio).all())
    assert float(rendered.audio.abs().max()) <= 1.0


def test_silence_in_memory_is_an_input_error(model: Model) -> None:
    with pytest.raises(InputError, match="silent"):
        invert(model, torch.zeros(10_000), SAMPLE_RATE)


def test_public_names_are_those_of_the_pipeline() -> None:
    import hgs_cli

    assert hgs_cli.render is render
    assert inspect.getdoc(hgs_cli.invert)


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu(bundle: object, note: Inversion, model: Model) -> None:
    gpu = load_model(model.path, "cuda")
    on_gpu, on_cpu = (synthesize(one, make_instrument(one, note), [50, 60], Settings()).cpu() for one in (gpu, model))
    assert torch.allclose(on_gpu, on_cpu, atol=1e-3 * float(on_cpu.abs().max()))


@pytest.mark.weights
def test_the_released_weights_reconstruct_the_snare(released: Model) -> None:
    heard = reconstruct(released, invert(released, read_audio(SNARE).audio, SAMPLE_RATE))
    assert heard.distance_db(heard.detailed) < 2.0
    assert heard.distance_db(heard.x_hat) < 10.0


@pytest.mark.weights
def test_the_released_weights_give_the_snare_every_note_asked_for(released: Model) -> None:
    inversion = invert(released, read_audio(SNARE).audio, SAMPLE_RATE)
    pitches = [float(pitch) for pitch in range(48, 73)]
    notes = render(released, inversion, pitches).audio
    heard = [detect_pitch(note).midi for note in notes]
    right = [found is not None and abs(found - pitch) < 0.5 for found, pitch in zip(heard, pitches, strict=True)]
    assert sum(right) >= 23, heard
    assert len({note.numpy().tobytes() for note in notes}) == 25
