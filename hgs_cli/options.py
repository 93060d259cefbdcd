"""Options, each said once: names, units, ranges, defaults and help; imports typer alone.

What belongs together is a frozen dataclass, mostly what one panel of the help shows. A command takes such dataclasses,
and `spread_options` shows typer their fields in their place. Options that stand alone are types here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from hgs_cli.errors import UsageError
from hgs_cli.pitch import MAX_LAYERS, MAX_TAKES

RUN_PANEL = "Running"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MMAPPED_BYTES = 32 * 2**20  # from which a block is mapped by itself: the most that glibc allows
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 192_000  # of files
_KEPT_BYTES = 256 * 2**20  # that stay with the process: notes of a batch and what they are made of

files_option = partial(typer.Option, rich_help_panel="Files and scripts")
source_option = partial(typer.Option, rich_help_panel="How the sound is heard")
length_option = partial(typer.Option, rich_help_panel="How long notes are")
sounding_option = partial(typer.Option, rich_help_panel="How the notes sound")
level_option = partial(typer.Option, rich_help_panel="Tuning, level and format")
running_option = partial(typer.Option, rich_help_panel=RUN_PANEL)


def parse_sample_rate(text: object) -> int:
    """A sample rate in Hz, written as 48000, 48k, 44.1kHz.

    Raises:
        UsageError: It is none, or out of range.
    """
    matched = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*(k?)(?:hz)?", str(text).strip().lower(), re.ASCII)
    rate_hz = float(matched[1]) * (1000.0 if matched[2] else 1.0) if matched else 0.0
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or rate_hz != round(rate_hz):
        raise UsageError(f"--sample-rate {text}", f"give {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, such as 48000 or 44.1k")
    return round(rate_hz)


def parse_budget(text: object) -> float:
    """Seconds of a time budget written as `90m`, `1.5h` or `45s`.

    Raises:
        UsageError: It is written otherwise, or is nothing.
    """
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", str(text).strip())
    seconds = float(matched[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[matched[2]] if matched else 0.0
    if seconds <= 0.0:
        raise UsageError(f"time budget {str(text)!r}", "write it as 45s, 90m or 1.5h")
    return seconds


# --- options that stand alone ---------------------------------------------------------------------------------------

Sounds = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOUND|DIR|-...",
        help="Sound files, folders of them, or - for a sound or paths on stdin.",
        show_default=False,
    ),
]
Playables = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOUND|INVERSION|DIR|-...",
        help="Sound files, .hgs files, folders of them, or - for a sound or paths on stdin.",
        show_default=False,
    ),
]
Mixed = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOUND|INVERSION|DIR...", help="Two or more sounds; folders with --multisample.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")]
Pitches = Annotated[
    str,
    typer.Option(
        "--pitches", "-p", metavar="NOTES",
        help="What to play: 60, C4, F#3, Bb2, 60.5, C4+50, 440Hz; C3..C5, 72-48, 48-72:3 (every third); several.",
    ),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only on stderr.")]
SourceNote = Annotated[
    str,
    typer.Option(
        "--source-note", "--pitch", metavar="NOTE|auto|none", help="The sound's own note, if hgs should not find it."
    ),
]
MiddleC = Annotated[
    Literal["C3", "C4", "C5"],
    level_option("--middle-c", help="What MIDI 60 is called, in names read, printed and of files.",
                 envvar="HGS_MIDDLE_C", show_envvar=True),
]  # fmt: skip
Detail = Annotated[float, typer.Option(min=0.0, max=1.0, help="How much of the sound's own detail is carried over.")]
Seed = Annotated[int, sounding_option(min=0, max=2**31 - 1, help="Another seed, another noise.")]
Subtype = Annotated[
    Literal["PCM_24", "PCM_16", "FLOAT"], level_option(help="Sample format of the sound files; PCM_16 is dithered.")
]
Name = Annotated[
    str | None,
    files_option(
        "--name", metavar="TEMPLATE", show_default="{stem}_{midi:03d}_{note}",
        help="Name of a note's file: {stem}, {midi}, {note}, {cents}, {layer}, {velocity}; / makes folders.",
    ),
]  # fmt: skip
Recursive = Annotated[
    bool, files_option("--recursive", "-r", help="Look into folders of folders; the output is laid out as the input.")
]
Json = Annotated[bool, files_option("--json", help="Print one JSON object a line instead of paths.")]
Plot = Annotated[bool, files_option("--plot", help="Also a PNG of waveforms and spectrograms.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], running_option(help="Where to compute.", envvar="HGS_DEVICE", show_envvar=True)
]
Threads = Annotated[int | None, running_option(min=1, max=1024, help="CPU threads.", show_default="all cores")]
Weights = Annotated[
    Path | None,
    running_option(metavar="BUNDLE", help="Weights to use.", show_default="HGS_WEIGHTS, then the released"),
]


# --- options that belong together -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TargetOptions:
    """Where the files of notes go, and which there are."""

    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR|-",
            help="Folder for the files; - writes one to stdout.",
            show_default="./{name}/",
        ),
    ] = None
    force: Force = False
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="F,F",
            help="wav, flac, aiff; for samplers sfz, dspreset, sf2, multisample; several with commas.",
        ),
    ] = "wav"
    audition: Annotated[
        bool, typer.Option("--audition", help="Also a web page with a keyboard that plays the notes.")
    ] = False


@dataclass(frozen=True)
class LengthOptions:
    """How long notes are, and how many of them a key has."""

    loop: Annotated[bool, length_option("--loop", help="Loop the sustain of notes that have one.")] = False
    duration: Annotated[
        float | None,
        length_option(
            metavar="SECONDS", help="Length; longer goes on with the sustain of notes that have one.",
            show_default="the sound's",
        ),
    ] = None  # fmt: skip
    fade: Annotated[float | None, length_option(metavar="SECONDS", help="Fade the end out.", show_default="none")] = (
        None
    )
    trim: Annotated[bool, length_option("--trim", help="Cut silence off both ends.")] = False
    velocities: Annotated[
        int, length_option(min=1, max=MAX_LAYERS, help="Dynamic layers, equally loud: the softer, the darker.")
    ] = 1
    takes: Annotated[
        int, length_option(min=1, max=MAX_TAKES, help="Takes of every note, which samplers play in turn (round robin).")
    ] = 1


@dataclass(frozen=True)
class SoundingOptions:
    """How notes sound."""

    seed: Seed = 0
    tonal: Annotated[
        str,
        sounding_option(
            metavar="auto|0..1",
            help="How much noise becomes tone; auto makes unpitched sounds clearly pitched and leaves others.",
        ),
    ] = "auto"
    variation: Annotated[
        float,
        sounding_option(
            min=0.0, max=1.0,
            help="Another take for every seed: colour, noise and decay wander, the pitch stays; "
            "1 is as soft from loud.",
        ),
    ] = 0.0  # fmt: skip
    vibrato: Annotated[Literal["keep", "flat"], sounding_option(help="Keep the sound's pitch movement or not.")] = (
        "keep"
    )


@dataclass(frozen=True)
class LoudnessOptions:
    """How loud notes are."""

    normalize: Annotated[
        Literal["lufs", "peak", "none"],
        level_option(help="One gain for all notes, by loudness, by peak (-3 dB), or none."),
    ] = "lufs"
    lufs: Annotated[float, level_option(min=-70.0, max=0.0, help="Loudness in LUFS, 3 dB of headroom kept.")] = -18.0


@dataclass(frozen=True, kw_only=True)
class LevelOptions:
    """Tuning, level and format of notes."""

    tune: Annotated[
        float, level_option(metavar="CENTS", min=-1200.0, max=1200.0, help="Tune all notes up or down.")
    ] = 0.0
    a4: Annotated[float, level_option("--a4", metavar="HZ", min=380.0, max=500.0, help="Concert pitch.")] = 440.0
    level: Annotated[
        Literal["even", "natural"],
        level_option(help="All keys equally loud, or louder towards one end as real instruments are."),
    ] = "even"
    loudness: LoudnessOptions
    sample_rate: Annotated[
        int, level_option(metavar="HZ", parser=parse_sample_rate, help="Of the files: 8k to 192k, 48k or 48000.")
    ] = 44_100
    subtype: Subtype = "PCM_24"
    middle_c: MiddleC = "C4"


@dataclass(frozen=True)
class ScriptOptions:
    """What scripts ask of a call."""

    skip_existing: Annotated[
        bool, files_option("--skip-existing", help="Leave out sounds all of whose files are there already.")
    ] = False
    dry_run: Annotated[bool, files_option("--dry-run", help="Print what would be written, and stop.")] = False
    as_json: Json = False


@dataclass(frozen=True)
class MultisampleOptions:
    """Whether sounds are recordings of one instrument, and what is known of them; of a mix, those of each folder."""

    multisample: Annotated[
        bool,
        source_option("--multisample", help="All sounds are recordings of one instrument: every key from the nearest."),
    ] = False
    map_file: Annotated[
        Path | None,
        source_option(
            "--map", metavar="FILE.csv|.sfz", help="Which recording is which key, layer and take.",
            show_default="file names",
        ),
    ] = None  # fmt: skip
    keep_tuning: Annotated[
        bool, source_option("--keep-tuning", help="Recorded keys stay as they are tuned, with --multisample.")
    ] = False
    keep_noise: Annotated[
        bool, source_option("--keep-noise", help="Recordings noisier than others stay so, with --multisample.")
    ] = False

    def __post_init__(self) -> None:
        asked = {
            "--map": self.map_file is not None, "--keep-tuning": self.keep_tuning, "--keep-noise": self.keep_noise
        }  # fmt: skip
        for name, given in asked.items():
            if given and not self.multisample:
                raise UsageError(f"{name} is about recordings of one instrument", "give --multisample too")


@dataclass(frozen=True)
class SourceOptions:
    """How sounds are heard."""

    passes: Annotated[
        int | None,
        source_option(min=0, max=16, help="Passes of the hypernetwork, 0 for none.", show_default="as trained"),
    ] = None
    stereo: Annotated[bool, source_option("--stereo", help="Two channels, the sound's first two; mono otherwise.")] = (
        False
    )
    start: Annotated[
        str,
        source_option(
            "--start", metavar="auto|SECONDS",
            help="Where the sound begins; auto leaves out silence and room noise before it.",
        ),
    ] = "auto"  # fmt: skip
    max_seconds: Annotated[
        float,
        source_option(
            "--max-seconds", metavar="SECONDS", min=0.01, max=600.0, help="At most so much of a sound is used."
        ),
    ] = 120.0


@dataclass(frozen=True)
class RunningOptions:
    """What computes, and with which weights."""

    device: Device = "auto"
    threads: Threads = None
    weights: Weights = None


# --- from the dataclasses to typer and back -------------------------------------------------------------------------


def spread_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer reads it: the fields of a dataclass of options stand where its parameter stands.

    Typer takes options off a function's signature; this one says them, and puts what typer gives together again.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = signature(command).parameters

    @wraps(command)
    def spread(**given: Any) -> None:
        command(**{name: _gathered(name, hints[name], given) for name in parameters})

    spread.__signature__ = Signature(  # type: ignore[attr-defined]
        [each for name, one in parameters.items() for each in _spread(name, hints[name], one.default)]
    )
    return spread


def _spread(name: str, annotation: Any, default: Any) -> Iterator[Parameter]:
    if not is_dataclass(annotation):
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        return
    hints = get_type_hints(annotation, include_extras=True)
    for field in fields(annotation):
        yield from _spread(
            field.name, hints[field.name], Parameter.empty if field.default is MISSING else field.default
        )


def _gathered(name: str, annotation: Any, given: Mapping[str, Any]) -> Any:
    if not isinstance(annotation, type) or not is_dataclass(annotation):
        return given[name]
    hints = get_type_hints(annotation, include_extras=True)
    return annotation(**{field.name: _gathered(field.name, hints[field.name], given) for field in fields(annotation)})


# --- running ---------------------------------------------------------------------------------------------------------


def keep_memory() -> None:
    """Let the C library keep memory that was freed, where it is glibc.

    It gives blocks of megabytes back at once and asks for them again a moment later; bringing them in page by page
    takes a fifth of the time of a note.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAPPED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def set_threads(threads: int | None) -> None:
    """Limit torch to so many CPU threads; leave it as it is for None."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
