"""Options that mean the same on every command, said once: names, units, ranges and help; imports typer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

FILES_PANEL = "Files and scripts"
SOURCE_PANEL = "How the sound is heard"
LENGTH_PANEL = "How long notes are"
SOUND_PANEL = "How the notes sound"
LEVEL_PANEL = "Tuning, level and format"
RUN_PANEL = "Running"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)

Sounds = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOUND|DIR|-...", help="Sound files, folders of them, or - for paths on stdin.", show_default=False
    ),
]
Playables = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOUND|INVERSION|DIR|-...",
        help="Sound files, .hgs files, folders of them, or - for paths on stdin.",
        show_default=False,
    ),
]
Mixed = Annotated[
    list[Path], typer.Argument(metavar="SOUND|INVERSION...", help="Two or more sounds.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Folder for the files.", show_default="./{name}/"),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")]
Pitches = Annotated[
    str,
    typer.Option(
        "--pitches", "-p", metavar="SPEC",
        help="Notes: 60, C4, F#3, Bb2, 60.5; ranges 48-72, C3-C5, 48-72:3 (every third); several with commas.",
    ),
]  # fmt: skip
Format = Annotated[
    str,
    typer.Option(
        "--format", metavar="F,F",
        help="wav, flac, aiff; sfz, dspreset and sf2 for samplers; several with commas.",
    ),
]  # fmt: skip
Audition = Annotated[bool, typer.Option("--audition", help="Also a web page with a keyboard that plays the notes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only on stderr.")]
SourcePitchOption = Annotated[
    str, typer.Option("--pitch", metavar="NOTE|auto|none", help="The sound's own note, if hgs should not find it.")
]
Detail = Annotated[float, typer.Option(min=0.0, max=1.0, help="How much of the sound's own detail is carried over.")]

Recursive = Annotated[
    bool,
    typer.Option("--recursive", "-r", help="Look into folders of folders; the output is laid out as the input.",
                 rich_help_panel=FILES_PANEL),
]  # fmt: skip
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave out sounds all of whose files are there already.",
                 rich_help_panel=FILES_PANEL),
]  # fmt: skip
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written, and stop.", rich_help_panel=FILES_PANEL)
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name", metavar="TEMPLATE", rich_help_panel=FILES_PANEL, show_default="{stem}_{midi:03d}_{note}",
        help="Name of a note's file: {stem}, {midi}, {note}, {cents}, {layer}, {velocity}; / makes folders.",
    ),
]  # fmt: skip
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line instead of paths.", rich_help_panel=FILES_PANEL)
]
Plot = Annotated[
    bool, typer.Option("--plot", help="Also a PNG of waveforms and spectrograms.", rich_help_panel=FILES_PANEL)
]

LoopNotes = Annotated[
    bool, typer.Option("--loop", help="Loop the sustain of notes that have one.", rich_help_panel=LENGTH_PANEL)
]
Duration = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Length; longer goes on with the sustain of notes that have one.",
                 show_default="the sound's", rich_help_panel=LENGTH_PANEL),
]  # fmt: skip
Fade = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Fade the end out.", show_default="none", rich_help_panel=LENGTH_PANEL),
]
Trim = Annotated[bool, typer.Option("--trim", help="Cut silence off both ends.", rich_help_panel=LENGTH_PANEL)]
Velocities = Annotated[
    int,
    typer.Option(min=1, max=8, help="Dynamic layers, equally loud: the softer, the darker.",
                 rich_help_panel=LENGTH_PANEL),
]  # fmt: skip

Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, help="Another seed, another noise.", rich_help_panel=SOUND_PANEL)
]
Passes = Annotated[
    int | None,
    typer.Option(
        min=0, max=16, help="Passes of the hypernetwork, 0 for none.", show_default="as trained",
        rich_help_panel=SOURCE_PANEL,
    ),
]  # fmt: skip
Stereo = Annotated[
    bool,
    typer.Option("--stereo", help="Two channels, the sound's first two; mono otherwise.",
                 rich_help_panel=SOURCE_PANEL),
]  # fmt: skip
Start = Annotated[
    str,
    typer.Option("--start", metavar="auto|SECONDS", rich_help_panel=SOURCE_PANEL,
                 help="Where the sound begins; auto leaves out silence and room noise before it."),
]  # fmt: skip
MaxSeconds = Annotated[
    float,
    typer.Option("--max-seconds", metavar="SECONDS", min=0.01, max=600.0, rich_help_panel=SOURCE_PANEL,
                 help="At most so much of a sound is used."),
]  # fmt: skip
Tonal = Annotated[
    str,
    typer.Option(
        metavar="auto|0..1", rich_help_panel=SOUND_PANEL,
        help="How much noise becomes tone; auto makes unpitched sounds clearly pitched and leaves others.",
    ),
]  # fmt: skip
Variation = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, rich_help_panel=SOUND_PANEL,
        help="Another take for every seed: colour, noise and decay wander, the pitch stays; 1 is as soft from loud.",
    ),
]  # fmt: skip
Vibrato = Annotated[
    Literal["keep", "flat"], typer.Option(help="Keep the sound's pitch movement or not.", rich_help_panel=SOUND_PANEL)
]
Tune = Annotated[
    float,
    typer.Option(metavar="CENTS", min=-1200.0, max=1200.0, help="Tune all notes up or down.",
                 rich_help_panel=LEVEL_PANEL),
]  # fmt: skip
A4 = Annotated[
    float, typer.Option("--a4", metavar="HZ", min=380.0, max=500.0, help="Concert pitch.", rich_help_panel=LEVEL_PANEL)
]
Normalize = Annotated[
    Literal["lufs", "peak", "none"],
    typer.Option(help="One gain for all notes, by loudness, by peak (-3 dB), or none.", rich_help_panel=LEVEL_PANEL),
]
Lufs = Annotated[
    float,
    typer.Option(min=-70.0, max=0.0, help="Loudness in LUFS, 3 dB of headroom kept.", rich_help_panel=LEVEL_PANEL),
]
SampleRate = Annotated[
    int, typer.Option(metavar="HZ", min=8_000, max=192_000, help="Of the files.", rich_help_panel=LEVEL_PANEL)
]
Subtype = Annotated[
    Literal["PCM_24", "PCM_16", "FLOAT"],
    typer.Option(help="Sample format of the sound files; PCM_16 is dithered.", rich_help_panel=LEVEL_PANEL),
]

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="Where to compute.", envvar="HGS_DEVICE", show_envvar=True, rich_help_panel=RUN_PANEL),
]
Threads = Annotated[
    int | None, typer.Option(min=1, max=1024, help="CPU threads.", show_default="all cores", rich_help_panel=RUN_PANEL)
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="BUNDLE",
        help="Weights to use.",
        show_default="HGS_WEIGHTS, then the released",
        rich_help_panel=RUN_PANEL,
    ),
]


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
    mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
    mallopt(_M_TRIM_THRESHOLD, 256 * 2**20)


def set_threads(threads: int | None) -> None:
    """Limit torch to so many CPU threads; leave it as it is for None."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
