"""Sound files in and out; the only soundfile import, since torchaudio's own reader needs a further package."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from hgs_cli.audio.mel import resample
from hgs_cli.errors import InputError
from hgs_cli.inputs import check_file
from hgs_cli.spectrum import MODEL_SAMPLES, SAMPLE_RATE

MIN_SAMPLES = 441  # 10 ms: less has no spectrum to speak of
SILENCE_DB = -90.0  # a peak below this is the noise of an empty 16-bit file
LOUDEST = 1e10  # whole numbers of 32 bits, stored as they are, are less; the power of more overflows
MAX_CHANNELS = 64
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 768_000
BLOCK_FRAMES = 65_536  # read in blocks, so that channels and rates only cost what is kept of them
FILTER_FRAMES = 4096  # beyond the last frame used: what the resampler's filter looks ahead to
CANCELLED_DB = -20.0  # a mono sum so far below its loudest channel has cancelled itself out
PEAK_ROUNDING = 1e-6  # float rounding at full scale is no clipping

# The largest term of a resampling ratio: a rate such as 44,056 Hz would otherwise ask for a filter bank of gigabytes.
# Rounding the ratio costs less than 0.002 cents of pitch at any rate.
MAX_RATIO_TERM = 1000

_SUPPORTED = "give a WAV, FLAC, AIFF, OGG or MP3 file"


@dataclass(frozen=True)
class Recording:
    """A sound as the model reads it.

    Attributes:
        audio: Mono at SAMPLE_RATE, (T,), at most MODEL_SAMPLES long, as loud as in its file.
        cropped_s: Seconds at the file's end that are not used; 0 if all is.
        cancelled: Whether the channels cancel each other out, so that only the loudest one was taken.
        side: Half the difference of the first two channels, as long as `audio`; None for mono, or where not asked for.
    """

    audio: Tensor
    cropped_s: float
    cancelled: bool
    side: Tensor | None = None


def read_audio(path: Path, stereo: bool = False) -> Recording:
    """Read a sound file: as much as the model uses, mixed to mono, resampled to SAMPLE_RATE.

    Args:
        path: WAV, FLAC, AIFF, OGG or MP3.
        stereo: Keep what the first two channels differ by; of more channels, only these two are read then.

    Raises:
        InputError: The file is missing, a folder, a pipe, not audio, empty, too short, silent, or holds values that are
            not finite or too large.
    """
    check_file(path, "give a sound file")  # libsndfile would wait for a pipe, and call other failures "System error"
    try:
        # As bytes: names need not be UTF-8, and soundfile would encode them as such.
        with _silent_decoders(), soundfile.SoundFile(os.fsencode(path)) as file:
            if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ or file.channels > MAX_CHANNELS:
                raise InputError(
                    f"{path} has {file.channels} channels at {file.samplerate} Hz",
                    f"give at most {MAX_CHANNELS} channels at {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz",
                )
            rate_hz, claimed_frames = file.samplerate, file.frames
            used_frames = math.ceil(MODEL_SAMPLES * rate_hz / SAMPLE_RATE)
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below
                audio, side, cancelled = _read_channels(file, used_frames + FILTER_FRAMES, stereo)
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError) as error:  # TypeError: a name that ends in .raw
        raise InputError(f"{path} cannot be read as sound", _SUPPORTED) from error
    if audio.size == 0:
        raise InputError(f"{path} is empty", "give a file with sound in it")
    if not np.isfinite(audio).all():
        raise InputError(f"{path} holds values that are not finite numbers", "export it again")
    _check_range(audio, str(path))
    result = to_sample_rate(torch.from_numpy(audio), rate_hz)[:MODEL_SAMPLES]
    cropped_s = max(0.0, (claimed_frames - used_frames) / rate_hz) if audio.size > used_frames else 0.0
    _check_sound(result, str(path), cropped_s)
    if side is None:
        return Recording(result, cropped_s, cancelled)
    return Recording(result, cropped_s, cancelled, to_sample_rate(torch.from_numpy(side), rate_hz)[:MODEL_SAMPLES])


def from_array(audio: Tensor | np.ndarray, sample_rate: int, stereo: bool = False) -> Recording:
    """Take a sound from memory as `read_audio` takes it from a file.

    Args:
        audio: Mono, (T,), or with channels as soundfile has them, (T, C).
        sample_rate: In Hz.
        stereo: Keep what the first two channels differ by.

    Raises:
        InputError: It is empty, too short, silent, not finite or too large, or of another shape.
    """
    audio = torch.as_tensor(audio)
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and not 1 <= audio.shape[1] <= MAX_CHANNELS):
        raise InputError(
            f"audio of shape {tuple(audio.shape)} is no sound", f"give (T,), or (T, C) of up to {MAX_CHANNELS} channels"
        )
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise InputError(f"a sample rate of {sample_rate} Hz", f"give {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    audio = audio.detach().float().cpu()
    if not bool(torch.isfinite(audio).all()):
        raise InputError("the audio holds values that are not finite numbers", "give finite samples")
    _check_range(audio, "the audio")
    if not audio.shape[0]:
        raise InputError("the audio is empty", "give sound")
    used = math.ceil(MODEL_SAMPLES * sample_rate / SAMPLE_RATE)
    cropped_s = max(0, audio.shape[0] - used) / sample_rate
    audio = audio[: used + FILTER_FRAMES]
    side, cancelled = None, False
    if audio.ndim == 2:
        energies = audio.double().square().sum(0)
        if stereo and audio.shape[1] > 1:
            side = to_sample_rate((audio[:, 0] - audio[:, 1]) / 2, sample_rate)[:MODEL_SAMPLES]
            audio, energies = audio[:, :2], energies[:2]
        mono = audio.mean(1)
        cancelled = _is_cancelled(float(mono.double().square().sum()), float(energies.max()))
        audio = audio[:, int(energies.argmax())] if cancelled else mono
    result = to_sample_rate(audio, sample_rate)[:MODEL_SAMPLES]
    _check_sound(result, "the audio", cropped_s)
    return Recording(result, cropped_s, cancelled, side)


def write_audio(
    path: Path, audio: Tensor, subtype: str, seed: int, sample_rate: int = SAMPLE_RATE, file_format: str = "WAV"
) -> None:
    """Write sound to a file.

    Args:
        path: Written in place: `outputs.OutputSet` gives the path of a file put aside.
        audio: Finite and in [-1, 1], (T,) or (T, C).
        subtype: PCM_24 (rounded), PCM_16 (with triangular dither of one step) or FLOAT (as it is; not in FLAC).
        seed: Of the dither.
        sample_rate: In Hz.
        file_format: WAV, FLAC or AIFF.
    """
    samples = audio.numpy()
    # libsndfile writes NaN and clips values beyond ±1 without a word.
    assert np.isfinite(samples).all()
    assert np.abs(samples).max(initial=0.0) <= 1.0 + PEAK_ROUNDING
    if subtype == "PCM_16":
        noise = np.random.default_rng(seed).random((2, *samples.shape))
        samples = _quantize(samples + (noise[0] - noise[1]) / 2**15, 16).astype(np.int16)
    elif subtype == "PCM_24":
        samples = _quantize(samples, 24) << 8  # libsndfile takes 24 bits as the upper part of 32
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


def encode_flac(audio: np.ndarray, sample_rate: int) -> bytes:
    """A FLAC file of 16 bits in memory, rounded without dither.

    Args:
        audio: Finite, (T, C); what lies beyond ±1 is clipped.
        sample_rate: In Hz.
    """
    assert np.isfinite(audio).all()
    file = io.BytesIO()
    soundfile.write(file, _quantize(audio, 16).astype(np.int16), sample_rate, subtype="PCM_16", format="FLAC")
    return file.getvalue()


def _quantize(samples: np.ndarray, bits: int) -> np.ndarray:
    """Round samples in [-1, 1] to integers of so many bits; 1 itself falls on the largest."""
    steps = 2 ** (bits - 1)
    whole: np.ndarray = np.clip(np.rint(samples.astype(np.float64) * steps), -steps, steps - 1)
    return whole.astype(np.int32)


def _is_cancelled(mono_energy: float, loudest_energy: float) -> bool:
    return bool(mono_energy < loudest_energy * 10.0 ** (CANCELLED_DB / 10.0))


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
    file: soundfile.SoundFile, n_frames: int, stereo: bool
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Read at most n_frames and mix them to mono, or take the loudest channel if the mix cancels out.

    Returns:
        Mono float32 samples (T,), half the difference of the first two channels if `stereo` asks for it and there are
        two, and whether the first are of one channel only.
    """
    energies = np.zeros(file.channels)
    if stereo and file.channels > 1:
        both = np.concatenate([np.zeros((0, 2), np.float32), *_blocks(file, n_frames, energies, [0, 1])])
        mono, side = both.mean(axis=1), (both[:, 0] - both[:, 1]) / 2
        energies = energies[:2]
    else:
        side = None
        mono = np.concatenate([np.zeros(0, np.float32), *_blocks(file, n_frames, energies, None)])
    if file.channels == 1 or not np.isfinite(mono).all():
        return mono, side, False
    if _is_cancelled(float(np.square(mono, dtype=np.float64).sum()), float(energies.max())):
        file.seek(0)
        loudest = [int(energies.argmax())]
        return np.concatenate(list(_blocks(file, n_frames, energies, loudest)))[:, 0], side, True
    return mono, side, False


def _blocks(
    file: soundfile.SoundFile, n_frames: int, energies: np.ndarray, channels: list[int] | None
) -> Iterator[np.ndarray]:
    """Read at most n_frames block by block, adding each channel's energy to `energies`.

    Yields:
        Chosen channels of each block, (T, C), or the mean of all of them, (T,).
    """
    left = n_frames
    while left > 0:
        block = file.read(min(BLOCK_FRAMES, left), dtype="float32", always_2d=True)
        if not len(block):
            return
        left -= len(block)
        energies += np.square(block, dtype=np.float64).sum(axis=0)
        yield block.mean(axis=1) if channels is None else block[:, channels]


def to_sample_rate(audio: Tensor, rate_hz: int, wanted_hz: int = SAMPLE_RATE) -> Tensor:
    """Resample audio (…, T) at rate_hz to wanted_hz."""
    ratio = Fraction(wanted_hz, rate_hz).limit_denominator(MAX_RATIO_TERM)
    return resample(audio, ratio.denominator, ratio.numerator)


def _check_range(audio: Tensor | np.ndarray, name: str) -> None:
    peak = max(float(audio.max()), -float(audio.min())) if len(audio) else 0.0
    if peak > LOUDEST:
        raise InputError(f"{name} holds values up to {peak:.0e}", "export it again with a full scale of 1")


def _check_sound(audio: Tensor, name: str, cropped_s: float) -> None:
    if audio.shape[0] < MIN_SAMPLES:
        raise InputError(
            f"{name} is too short ({1000 * audio.shape[0] / SAMPLE_RATE:.1f} ms)", "give at least 10 ms of sound"
        )
    peak = float((audio - audio.mean()).abs().max())  # a constant offset is no sound
    if peak < 10.0 ** (SILENCE_DB / 20.0):
        where = f"in its first {MODEL_SAMPLES / SAMPLE_RATE:.1f} s, all that is used," if cropped_s else "throughout"
        raise InputError(f"{name} is silent {where}", "give a file with sound in it")
