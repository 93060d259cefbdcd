"""What samplers read beside sound files, or instead of them: made of the notes of one instrument."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hgs_cli.audio.io import read_back, write_audio
from hgs_cli.export.dspreset import dspreset_text
from hgs_cli.export.multisample import write_multisample
from hgs_cli.export.naming import Plan
from hgs_cli.export.sf2 import write_sf2
from hgs_cli.export.sfz import sfz_text
from hgs_cli.export.zones import Sample, Zone, zones
from hgs_cli.files.atomic import OutputSet

SOURCE_SUFFIX = ".wav"  # of notes as they lie in scratch folders


@dataclass(frozen=True)
class Readers:
    """How files that hold sounds themselves get them: as numbers, or as a WAV file."""

    samples: Callable[[Sample], NDArray[np.float32]]
    waves: Callable[[Sample], bytes]


class Waves:
    """Notes as WAV files, whatever they were written as.

    Args:
        sources: Where each file of a note lies.
        subtype: Of those that are not there as WAV.
        scratch: A file to write to.
    """

    def __init__(self, sources: Mapping[Path, Path], subtype: str, scratch: Path) -> None:
        self.sources, self.subtype, self.scratch = sources, subtype, scratch

    def read(self, sample: Sample) -> bytes:
        """One note's file."""
        source = self.sources[sample.path]
        if source != sample.path and source.suffix == SOURCE_SUFFIX:  # one that stays
            return source.read_bytes()
        audio = torch.from_numpy(read_back(source))
        write_audio(self.scratch, audio, self.subtype, round(100 * sample.pitch), sample.sample_rate)
        return self.scratch.read_bytes()


def write_instruments(
    plan: Plan, samples: Sequence[Sample], outputs: OutputSet, readers: Readers, release_s: float
) -> None:
    """Write the files of an instrument that its plan names."""
    if not plan.instruments:
        return
    mapped: list[Zone] = zones(samples)
    for file_format, target in plan.instruments.items():
        if file_format == "sf2":
            first = [zone for zone in mapped if not zone.sample.take]
            outputs.write(
                target,
                lambda aside, first=first: write_sf2(  # type: ignore[misc]
                    aside, plan.name, first, readers.samples, release_s, plan.middle_c
                ),
            )
            continue
        if file_format == "multisample":
            outputs.write(
                target, lambda aside: write_multisample(aside, plan.name, mapped, readers.waves, plan.middle_c)
            )
            continue
        text = {"sfz": sfz_text, "dspreset": dspreset_text}[file_format](mapped, target.parent, plan.name, release_s)
        outputs.write(target, lambda aside, text=text: aside.write_text(text, encoding="utf-8"))  # type: ignore[misc]
