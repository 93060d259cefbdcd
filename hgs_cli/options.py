"""Options that mean the same on every command, said once: names, units, ranges and help; imports typer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

SOURCE_PANEL = "How the sound is heard"
SOUND_PANEL = "How the notes sound"
LEVEL_PANEL = "Level and format"
RUN_PANEL = "Running"

Sounds = Annotated[list[Path], typer.Argument(metavar="SOUND...", help="Sound files.", show_default=False)]
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
SourcePitchOption = Annotated[
    str, typer.Option("--pitch", metavar="NOTE|auto|none", help="The sound's own note, if hgs should not find it.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Another seed, another noise.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of paths.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only on stderr.")]
Detail = Annotated[float, typer.Option(min=0.0, max=1.0, help="How much of the sound's own detail is carried over.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.", rich_help_panel=RUN_PANEL)]
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
Passes = Annotated[
    int | None,
    typer.Option(
        min=0, max=16, help="Passes of the hypernetwork, 0 for none.", show_default="as trained",
        rich_help_panel=SOURCE_PANEL,
    ),
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
Normalize = Annotated[
    Literal["lufs", "peak", "none"],
    typer.Option(help="One gain for all notes, by loudness, by peak (-3 dB), or none.", rich_help_panel=LEVEL_PANEL),
]
Lufs = Annotated[
    float,
    typer.Option(min=-70.0, max=0.0, help="Loudness in LUFS, 3 dB of headroom kept.", rich_help_panel=LEVEL_PANEL),
]
Subtype = Annotated[
    Literal["PCM_24", "PCM_16", "FLOAT"],
    typer.Option(help="Sample format of the WAV files; PCM_16 is dithered.", rich_help_panel=LEVEL_PANEL),
]


def set_threads(threads: int | None) -> None:
    """Limit torch to so many CPU threads; leave it as it is for None."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
