"""Sound files in and out, through soundfile: torchaudio's own reader needs a further package."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from hgs_cli.audio.cycle import CYCLE, Cycle, find_cycle, is_looped
from hgs_cli.audio.flac import quantize
from hgs_cli.audio.foreign import decoded
from hgs_cli.audio.headers import missing_seconds
from hgs_cli.audio.mel import resample
from hgs_cli.checked import Number, as_whole
from hgs_cli.errors import InputError, UsageError
from hgs_cli.files.safetensors_header import check_file
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

DEFAULT_SECONDS = 120.0  # read unless more is asked for: longer than any note or phrase that is made an instrument
MAX_SECONDS = 600.0  # 106 MB a channel at SAMPLE_RATE
MODEL_SECONDS = MODEL_SAMPLES / SAMPLE_RATE  # what the networks hear of a sound
MIN_SAMPLES = 441  # 10 ms: less has no spectrum to speak of


@dataclass(frozen=True)
class FileRules:
    """What sound files are taken."""

    silence_db: float = -90.0  # a peak below this is the noise of an empty 16-bit file
    loudest: float = 1e10  # whole numbers of 32 bits, stored as they are, are less; the power of more overflows
    max_channels: int = 64  # more is no sound
    # rates that are resampled from
    min_rate_hz: int = 4_000
    max_rate_hz: int = 768_000
    block_frames: int = 65_536  # read in blocks, so that channels and rates only cost what is kept of them
    # beyond the last frame used: what the resampler's filter looks ahead to; 1,176 at 768 kHz
    filter_frames: int = 4096
    # at once: a filter bank is made for each, and what it works on is a few times as large
    resampled_frames: int = 1 << 20
    cancelled_db: float = -20.0  # a mono sum so far below its loudest channel has cancelled itself out
    peak_rounding: float = 1e-6  # float rounding at full scale is no clipping
    # the largest term of a resampling ratio: a rate such as 44,056 Hz would otherwise ask for a filter bank of
    # gigabytes. Rounding the ratio costs less than 0.002 cents of pitch at any rate
    max_ratio_term: int = 1000


FILES = FileRules()
_NOT_READ = (soundfile.SoundFileError, OSError, RuntimeError, TypeError)  # TypeError: a name that ends in .raw


@dataclass(frozen=True)
class Recording:
    """A sound as it is read."""

    audio: Tensor  # mono at SAMPLE_RATE, (T,), as loud as in its file
    cropped_s: float  # seconds at the file's end that are not read; 0 if all is
    cancelled: bool  # whether the channels cancel each other out, so that `audio` is the loudest one alone
    channels: Tensor | None = None  # the first two channels, (2, T); None for mono, or where not asked for
    flaw: str = ""  # what is wrong with its file, `ends early: …`; empty if nothing is known to be
    cycle_midi: float | None = None  # the pitch of the single cycle that `audio` repeats; None where it is a sound


def read_audio(path: Path, stereo: bool = False, *, max_seconds: float = DEFAULT_SECONDS) -> Recording:
    """Read a sound file, mixed to mono, resampled to SAMPLE_RATE.

    Args:
        path: WAV, FLAC, AIFF, OGG or MP3; through ffmpeg, where that is on PATH, what it reads.
        stereo: Keep the first two channels; of more, only these two are read then.
        max_seconds: At most so much is read, up to MAX_SECONDS.

    Raises:
        InputError: The file is missing, a folder, a pipe, not audio, empty, too short, silent, or holds values that are
            not finite or too large.
        OutputError: There is no room for what ffmpeg decodes.
        UsageError: max_seconds is out of range.
    """
    _check_seconds(max_seconds)
    check_file(path, "give a sound file")  # libsndfile would wait for a pipe, and call other failures "System error"
    try:
        # As bytes: names need not be UTF-8, and soundfile would encode them as such.
        with _silent_decoders(), soundfile.SoundFile(os.fsencode(path)) as file:
            return _read_file(file, stereo, max_seconds, str(path))
    except _NOT_READ:
        with decoded(path, max_seconds) as found:
            try:
                with soundfile.SoundFile(found.wave) as file:
                    recording = _read_file(file, stereo, max_seconds, str(path))
            except _NOT_READ as error:
                raise InputError(f"{path} cannot be read as sound", "convert it to WAV") from error
            flaw = f"may be damaged or cut off: ffmpeg says {found.complaint!r}" if found.complaint else ""
            return replace(recording, flaw=flaw)


def _read_file(file: soundfile.SoundFile, stereo: bool, max_seconds: float, name: str) -> Recording:
    if not FILES.min_rate_hz <= file.samplerate <= FILES.max_rate_hz or file.channels > FILES.max_channels:
        raise InputError(
            f"{name} has {file.channels} channels at {file.samplerate} Hz",
            f"give at most {FILES.max_channels} channels at {FILES.min_rate_hz} to {FILES.max_rate_hz} Hz",
        )
    rate_hz, claimed_frames = file.samplerate, file.frames
    if 0 < claimed_frames <= CYCLE.looped_s * rate_hz and file.seekable():
        looped = is_looped(file.extra_info, claimed_frames)
        cycle = find_cycle(np.concatenate([*_file_blocks(file, claimed_frames)] or [np.zeros((0, 1))]), rate_hz, looped)
        if cycle is not None:
            return _repeated(cycle, stereo, max_seconds, name)
    used_frames = math.ceil(max_seconds * rate_hz)
    n_frames = used_frames + FILES.filter_frames
    audio, levels = _read_channels(lambda: _file_blocks(file, n_frames), file.channels, rate_hz, stereo, name)
    if not levels.n_frames:
        raise InputError(f"{name} is empty", "give a file with sound in it")
    cropped_s = max(0.0, (claimed_frames - used_frames) / rate_hz) if levels.n_frames > used_frames else 0.0
    recording = _recording(audio, levels, cropped_s, max_seconds, name)
    there_s = levels.n_frames / rate_hz
    missing_s = missing_seconds(file, min(claimed_frames, n_frames) / rate_hz, there_s)
    if not missing_s:
        return recording
    return replace(recording, flaw=f"ends early: {missing_s:.2f} s of its {there_s + missing_s:.2f} s are not there")


def from_array(
    audio: Tensor | np.ndarray, sample_rate: Number, stereo: bool = False, *, max_seconds: float = DEFAULT_SECONDS
) -> Recording:
    """Take a sound from memory as `read_audio` takes it from a file.

    Args:
        audio: Mono, (T,), or with channels as soundfile has them, (T, C); whole numbers have the full scale of their
            type.
        sample_rate: In Hz.
        stereo: Keep the first two channels; of more, only these two are heard then.
        max_seconds: At most so much is taken, up to MAX_SECONDS.

    Raises:
        InputError: It is empty, too short, silent, not finite or too large, or of another shape or rate.
        UsageError: max_seconds is out of range.
    """
    _check_seconds(max_seconds)
    audio = _as_samples(audio)
    try:
        sample_rate = as_whole(sample_rate, "a sample rate", FILES.min_rate_hz, FILES.max_rate_hz, " Hz")
    except UsageError as error:
        raise InputError(error.what, error.remedy) from error
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and not 1 <= audio.shape[1] <= FILES.max_channels):
        raise InputError(
            f"audio of shape {tuple(audio.shape)} is no sound",
            f"give (T,), or (T, C) of up to {FILES.max_channels} channels",
        )
    if not audio.shape[0]:
        raise InputError("the audio is empty", "give sound")
    if audio.shape[0] <= CYCLE.looped_s * sample_rate:
        whole = audio.detach().float().cpu().numpy()
        cycle = find_cycle(whole[:, None] if whole.ndim == 1 else whole, sample_rate, looped=False)
        if cycle is not None:
            return _repeated(cycle, stereo, max_seconds, "the audio")
    used_frames = math.ceil(max_seconds * sample_rate)
    cropped_s = max(0, audio.shape[0] - used_frames) / sample_rate
    samples = audio[: used_frames + FILES.filter_frames].detach().float().cpu().numpy()
    samples = samples[:, None] if samples.ndim == 1 else samples
    blocks = [samples[start : start + FILES.block_frames] for start in range(0, len(samples), FILES.block_frames)]
    result, levels = _read_channels(lambda: iter(blocks), samples.shape[1], sample_rate, stereo, "the audio")
    return _recording(result, levels, cropped_s, max_seconds, "the audio")


def _as_samples(audio: object) -> Tensor:
    """Samples of an array, a tensor or a list, with a full scale of 1.

    Raises:
        InputError: They are no numbers.
    """
    if not isinstance(audio, Tensor):
        try:
            array = np.asarray(audio)
        except (TypeError, ValueError, RuntimeError) as error:  # rows of different lengths
            raise InputError(f"audio of {type(audio).__name__} is no sound", "give an array (T,) or (T, C)") from error
        if array.dtype.kind not in "fiu":
            raise InputError(f"audio of type {array.dtype} is no sound", "give an array of numbers, (T,) or (T, C)")
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        audio = torch.from_numpy(np.require(native, requirements=["C", "W"]))  # torch knows no others
    if audio.is_complex() or audio.dtype == torch.bool:
        raise InputError(f"audio of type {audio.dtype} is no sound", "give an array of numbers, (T,) or (T, C)")
    if audio.is_floating_point():
        return audio
    scale = torch.iinfo(audio.dtype)
    middle = 0.0 if scale.min else (scale.max + 1) / 2.0  # of unsigned numbers
    return ((audio.double() - middle) / (scale.max + 1 - middle)).float()


def _repeated(cycle: Cycle, stereo: bool, max_seconds: float, name: str) -> Recording:
    """The sound of a cycle that is repeated."""
    n_channels = cycle.samples.shape[1]
    audio, levels = _read_channels(lambda: cycle.blocks(FILES.block_frames), n_channels, cycle.rate_hz, stereo, name)
    return replace(_recording(audio, levels, 0.0, min(max_seconds, MODEL_SECONDS), name), cycle_midi=cycle.midi)


def _recording(audio: Tensor, levels: _Levels, cropped_s: float, max_seconds: float, name: str) -> Recording:
    """What was read, (1, T) or two channels (2, T), cropped, checked and mixed."""
    audio = audio[:, : round(max_seconds * SAMPLE_RATE)]
    mono = audio[0]
    if len(audio) == 2:
        mono = audio[levels.loudest()].clone() if levels.cancelled() else audio.mean(0)
    _check_sound(mono, name, cropped_s)
    return Recording(mono, cropped_s, levels.cancelled(), audio if len(audio) == 2 else None)


def write_audio(
    path: Path, audio: Tensor, subtype: str, seed: int, sample_rate: int = SAMPLE_RATE, file_format: str = "WAV"
) -> None:
    """Write sound to a file.

    Args:
        path: Written in place: `files.atomic.OutputSet` gives the path of a file put aside.
        audio: Finite and in [-1, 1], (T,) or (T, C).
        subtype: PCM_24 (rounded), PCM_16 (with triangular dither of one step) or FLOAT (as it is; not in FLAC).
        seed: Of the dither.
        sample_rate: In Hz.
        file_format: WAV, FLAC or AIFF.
    """
    samples = audio.numpy()
    # libsndfile writes NaN and clips values beyond ±1 without a word.
    assert np.isfinite(samples).all()
    assert np.abs(samples).max(initial=0.0) <= 1.0 + FILES.peak_rounding
    if subtype == "PCM_16":
        noise = np.random.default_rng(seed).random((2, *samples.shape))
        samples = quantize(samples + (noise[0] - noise[1]) / 2**15, 16).astype(np.int16)
    elif subtype == "PCM_24":
        samples = quantize(samples, 24) << 8  # libsndfile takes 24 bits as the upper part of 32
    else:
        assert subtype == "FLOAT", subtype
    try:
        soundfile.write(os.fsencode(path), samples, sample_rate, subtype=subtype, format=file_format)
    except soundfile.SoundFileError as error:
        raise OSError(str(error)) from error


def read_back(path: Path) -> np.ndarray:
    """All of a sound file that hgs wrote, float32, (T, C)."""
    samples: np.ndarray = soundfile.read(os.fsencode(path), dtype="float32", always_2d=True)[0]
    return samples


class _Levels:
    """How much there is in the channels of what is read block by block, and in their mix."""

    def __init__(self, n_channels: int) -> None:
        self.n_frames = 0
        self.energies = np.zeros(n_channels)
        self.mix_energy = 0.0

    def add(self, block: np.ndarray) -> None:
        """Count a block, (T, C)."""
        self.n_frames += len(block)
        self.energies += np.square(block, dtype=np.float64).sum(axis=0)
        self.mix_energy += float(np.square(block.mean(axis=1), dtype=np.float64).sum())

    def loudest(self) -> int:
        """The loudest channel."""
        return int(self.energies.argmax())

    def cancelled(self) -> bool:
        """Whether hardly anything is left of the channels where they are mixed."""
        return bool(self.mix_energy < self.energies.max() * 10.0 ** (FILES.cancelled_db / 10.0))


class _Resampler:
    """Brings blocks, one after the other, to SAMPLE_RATE as if they were one sound.

    Only the result is held whole: at the rate of the file there is never much more than FILES.resampled_frames of it.
    """

    def __init__(self, rate_hz: int) -> None:
        self.orig, self.new = _ratio(rate_hz, SAMPLE_RATE)
        # Pieces begin at whole periods of the filter bank and overlap by its reach, so that there is no seam.
        self.overlap = -(-FILES.filter_frames // self.orig) * self.orig
        self.piece = -(-FILES.resampled_frames // self.orig) * self.orig
        self.held: list[Tensor] = []
        self.n_held = self.n_before = 0
        self.done: list[Tensor] = []

    def add(self, block: Tensor) -> None:
        """Take a block, (C, T)."""
        self.held.append(block)
        self.n_held += block.shape[-1]
        if self.n_held - self.n_before >= self.piece + self.overlap:
            whole, end = torch.cat(self.held, -1), self.n_before + self.piece
            ready = resample(whole[:, : end + self.overlap], self.orig, self.new)
            self.done.append(ready[:, self._at(self.n_before) : self._at(end)].clone())
            self.held = [whole[:, end - self.overlap :].clone()]
            self.n_held, self.n_before = self.held[0].shape[-1], self.overlap

    def result(self) -> Tensor:
        """All of the sound, (C, T)."""
        last = resample(torch.cat(self.held, -1), self.orig, self.new)
        return torch.cat([*self.done, last[:, self._at(self.n_before) :]], -1)

    def _at(self, frames: int) -> int:
        return frames // self.orig * self.new


@contextlib.contextmanager
def _silent_decoders() -> Iterator[None]:
    """Keep from stderr what libsndfile's MP3 decoder writes there about damaged files, past Python and unasked."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _read_channels(
    blocks: Callable[[], Iterator[np.ndarray]], n_channels: int, rate_hz: int, stereo: bool, name: str
) -> tuple[Tensor, _Levels]:
    """Read a sound: its first two channels where asked for, else all mixed, or the loudest where the mix cancels.

    Args:
        blocks: Blocks (T, C) from the beginning, at each call.
        n_channels: Of the blocks.
        rate_hz: Of the blocks.
        stereo: Keep two channels apart.
        name: Of the sound, for errors.

    Returns:
        Samples at SAMPLE_RATE, (1, T) or (2, T), and how much there is in the channels that were read.

    Raises:
        InputError: There are values that are not finite, or too large.
    """
    apart = stereo and n_channels > 1
    n_read = 2 if apart else n_channels
    levels, resampler = _Levels(n_read), _Resampler(rate_hz)
    resampler.add(torch.zeros(2 if apart else 1, 0))  # there may be no block
    for block in blocks():
        used = block[:, :n_read]
        _check_values(used, name)
        levels.add(used)
        resampler.add(torch.from_numpy(used.T if apart else used.mean(axis=1)[None]))
    if levels.cancelled() and not apart:
        resampler, loudest = _Resampler(rate_hz), levels.loudest()
        for block in blocks():
            resampler.add(torch.from_numpy(block[:, loudest][None]))
    return resampler.result(), levels


def _file_blocks(file: soundfile.SoundFile, n_frames: int) -> Iterator[np.ndarray]:
    """At most n_frames from the beginning of a file, block by block, (T, C)."""
    if file.tell():  # a file that cannot be wound back can still be read once
        file.seek(0)
    left = n_frames
    while left > 0:
        block = file.read(min(FILES.block_frames, left), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        yield block


def to_sample_rate(audio: Tensor, rate_hz: int, wanted_hz: int = SAMPLE_RATE) -> Tensor:
    """Resample audio (…, T) at rate_hz to wanted_hz."""
    return resample(audio, *_ratio(rate_hz, wanted_hz))


def _ratio(rate_hz: int, wanted_hz: int) -> tuple[int, int]:
    ratio = Fraction(wanted_hz, rate_hz).limit_denominator(FILES.max_ratio_term)
    return ratio.denominator, ratio.numerator


def _check_seconds(max_seconds: float) -> None:
    shortest = MIN_SAMPLES / SAMPLE_RATE
    if not shortest <= max_seconds <= MAX_SECONDS:  # NaN is refused too
        raise UsageError(f"{max_seconds:g} s of a sound are asked for", f"give {shortest:g} to {MAX_SECONDS:g} s")


def _check_values(block: np.ndarray, name: str) -> None:
    if not np.isfinite(block).all():
        raise InputError(f"{name} holds values that are not finite numbers", "export it again")
    peak = float(np.abs(block).max(initial=0.0))
    if peak > FILES.loudest:
        raise InputError(f"{name} holds values up to {peak:.0e}", "export it again with a full scale of 1")


def _check_sound(audio: Tensor, name: str, cropped_s: float) -> None:
    if audio.shape[0] < MIN_SAMPLES:
        length_ms = 1000 * audio.shape[0] / SAMPLE_RATE
        raise InputError(f"{name} is too short ({length_ms:.1f} ms)", "give at least 10 ms of sound")
    peak = float((audio - audio.mean()).abs().max())  # a constant offset is no sound
    if peak < 10.0 ** (FILES.silence_db / 20.0):
        where = f"in its first {audio.shape[0] / SAMPLE_RATE:.1f} s, all that is read," if cropped_s else "throughout"
        raise InputError(f"{name} is silent {where}", "give a file with sound in it")
