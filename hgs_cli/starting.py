"""What the command settles before torch is loaded: how threads wait, in what pages memory comes, what is read later.

None of it concerns those who import hgs_cli.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

GARBAGE_THRESHOLD = 50_000  # objects: by default Python looks for garbage a thousand times while torch is imported
PLAYING = ("render", "mix", "invert")
SPIN_COUNT = "20000"  # looks at what a thread waits for before it sleeps; 3,000 to 100,000 do as well
UNUSED = "torch._meta_registrations"  # shapes of results without the results, which compilers ask for


class _Later:
    """Finds the part of torch that nothing here asks for, to be read when somebody does: a quarter of its import."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As a finder on sys.meta_path does."""
        spec = PathFinder.find_spec(name, path, target) if name == UNUSED else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def prepare(arguments: Sequence[str]) -> None:
    """Make the start quick, and let waiting threads of torch soon sleep, unless the user has said how they wait.

    They would spin, for others to finish who have no core to do so: beside two other programs on two cores a note of
    four seconds alone took 179 ms then, 51 as it is here, and 103 if threads sleep at once; on an idle machine 29, 25
    and 50. Its operators no longer share their work, those of several notes do. Large blocks come in huge pages where
    Linux has them: 25 notes of four seconds cold took 2.46 s without and 2.35 s with them. Training is left as torch
    has it.
    """
    gc.set_threshold(GARBAGE_THRESHOLD)
    command = next(iter(arguments), "")
    if command != "train":
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        if "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if command in PLAYING:
        sys.meta_path.insert(0, _Later)
