"""A page on which an instrument is played and seen: one HTML file that needs a browser and no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from hgs_cli.audio.flac import encode_flac
from hgs_cli.audio.io import to_sample_rate
from hgs_cli.export.palette import COLOURS, RANGE_DB
from hgs_cli.export.zones import Sample, Zone, n_layers, zones
from hgs_cli.pitch import MIDDLE_C
from hgs_cli.spectrum import SAMPLE_RATE

_PAGE = files("hgs_cli.export") / "audition_page"
_SCRIPTS = ("player.js", "pictures.js", "page.js")
_SOUNDS = "<!-- sounds -->"

# Nothing but the page's own style and script, and nothing from anywhere: an audition may hold unreleased sounds.
_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class AuditionSet:
    """The notes of one instrument; of a mix in steps, those of one step."""

    label: str  # what tells it from the other sets, `25 %`
    samples: Sequence[Sample]  # its notes, of all layers
    read: Callable[[Sample], NDArray[np.float32]]  # gives the sound of one of them, (T, C), in [-1, 1]


@dataclass(frozen=True)
class AuditionInput:
    """A sound that the instrument was made of."""

    label: str  # its name
    audio: NDArray[np.float32]  # (T,) or (T, C), in [-1, 1]
    sample_rate: int  # in Hz


def write_audition(
    path: Path,
    title: str,
    sets: Sequence[AuditionSet],
    inputs: Sequence[AuditionInput],
    facts: Sequence[tuple[str, str]] = (),
    middle_c: int = MIDDLE_C,
) -> None:
    """Write a page with a keyboard that plays the notes as a sampler would, and with pictures of what is heard.

    Sounds stand in it as 16-bit FLAC; while it is written, one of them is in memory at a time.

    Args:
        path: The page, written in place; `files.atomic.OutputSet` gives the path of a file put aside.
        title: Of the page. Like all text it may hold any characters.
        sets: At least one; of several, a slider chooses the one that is heard.
        inputs: Sounds to compare the notes with.
        facts: Names and values, shown below the title.
        middle_c: Octave number of MIDI 60 in names.
    """
    assert sets
    zoned = [(each, zones(each.samples)) for each in sets]
    page = {
        "facts": facts,
        "inputs": _describe_inputs(inputs),
        "sets": _describe_sets(zoned),
        "middleC": middle_c,
    }
    head, tail = _page_text(title, page)
    with open(path, "wb") as file:
        _write_text(file, head)
        for index, given in enumerate(inputs):
            channels = torch.from_numpy(_columns(given.audio).T.copy())  # (C, T)
            _write_sound(file, f"input-{index}", to_sample_rate(channels, given.sample_rate).T.numpy(), SAMPLE_RATE)
        for index, (each, found) in enumerate(zoned):
            for place, zone in enumerate(found):
                audio = _columns(each.read(zone.sample))
                _write_sound(file, f"note-{index}-{place}", audio, zone.sample.sample_rate)
        _write_text(file, tail)


def _page_text(title: str, page: Mapping[str, object]) -> list[str]:
    """The page before its sounds and after them; `page` is what it is of."""
    style = _read("page.css")
    script = "".join(_read(name) for name in _SCRIPTS)
    return [
        Template(half).substitute(
            title=html.escape(title),
            policy=_POLICY.format(script=_digest(script), style=_digest(style)),
            style=style,
            page=_json({"sampleRate": SAMPLE_RATE, "palette": COLOURS, "rangeDb": RANGE_DB, **page}),
            script=script,
        )
        for half in _read("page.html").split(_SOUNDS)
    ]


def _describe_inputs(inputs: Sequence[AuditionInput]) -> list[dict[str, object]]:
    return [
        {"label": each.label, "sound": f"input-{index}", "seconds": each.audio.shape[0] / each.sample_rate}
        for index, each in enumerate(inputs)
    ]


def _describe_sets(zoned: Sequence[tuple[AuditionSet, Sequence[Zone]]]) -> list[dict[str, object]]:
    return [
        {
            "label": each.label,
            "layers": n_layers(found),
            "zones": [_describe(zone, f"note-{index}-{place}") for place, zone in enumerate(found)],
            "unheard": len(each.samples) - len(found),
        }
        for index, (each, found) in enumerate(zoned)
    ]


def _describe(zone: Zone, sound: str) -> dict[str, object]:
    """What the page needs to know of a zone; its loop in seconds."""
    sample = zone.sample
    loop = None if sample.loop is None else [at / sample.sample_rate for at in (sample.loop.start, sample.loop.end)]
    return {
        "sound": sound,
        "pitch": sample.pitch,
        "root": zone.root_key,
        "keys": [zone.low_key, zone.high_key],
        "velocities": [zone.low_velocity, zone.high_velocity],
        "seconds": sample.n_frames / sample.sample_rate,
        "loop": loop,
    }


def _columns(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Audio (T,) or (T, C) as (T, 1) or (T, 2); more than two channels are mixed to one."""
    columns = audio[:, None] if audio.ndim == 1 else audio
    return columns if columns.shape[1] <= 2 else columns.mean(axis=1, keepdims=True)


def _write_sound(file: BinaryIO, name: str, audio: NDArray[np.float32], sample_rate: int) -> None:
    # Base64 knows no "<", so that nothing in it can end the element.
    file.write(f'<script type="text/plain" id="{name}">'.encode())
    file.write(base64.b64encode(encode_flac(audio, sample_rate)))
    file.write(b"</script>\n")


def _write_text(file: BinaryIO, text: str) -> None:
    # A file name that is no valid UTF-8 reaches Python as lone surrogates, which no page can hold.
    file.write(text.encode("utf-8", "replace"))


def _json(value: object) -> str:
    """JSON that stands in a script element: nothing in it can end the element or begin a comment."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """SHA-256 as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
