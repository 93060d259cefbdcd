"""A command starts quickly: torch is read as far as it is used, little beside it, and its threads soon wait asleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, few_of

RENDER = """
import json, os, sys
from hgs_cli import __main__
__main__._leave = lambda code: None
sys.argv = ["hgs", "render", "{sound}", "-p", "60", "-o", "{out}", "--quiet"]
__main__.main()
later = sys.modules["torch._meta_registrations"]
heavy = sorted({{"scipy", "pyloudnorm", "PIL", "rich"}} & set(sys.modules))
waits, pages = os.environ.get("GOMP_SPINCOUNT"), os.environ.get("THP_MEM_ALLOC_ENABLE")
print(json.dumps([heavy, type(later).__name__, waits, pages]))
import torch
later.global_decomposition_table
print(torch.ops.aten.convolution(torch.empty(1, 2, 5, device="meta"), torch.empty(3, 2, 3, device="meta"), None,
      [1], [1], [1], False, [0], 1).shape == (1, 3, 5))
"""


@pytest.mark.parametrize("wish", few_of([None, "active"], None))
def test_a_note_needs_not_all_of_torch_and_little_beside_it(
    sound: Path, bundle: Path, tmp_path: Path, wish: str | None
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HGS_WEIGHTS": str(bundle)}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE"):
        environment.pop(name, None)
    if wish is not None:
        environment["OMP_WAIT_POLICY"] = wish
    code = RENDER.format(sound=sound, out=tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    loaded, whole = done.stdout.splitlines()[-2:]
    assert json.loads(loaded) == [[], "_LazyModule", "20000" if wish is None else None, "1"]
    assert whole == "True"  # what was left out is read when somebody asks for it


def test_training_finds_torch_as_it_is() -> None:
    code = (
        "import os, sys; os.environ.pop('GOMP_SPINCOUNT', None); from hgs_cli.starting import prepare\n"
        "os.environ.pop('THP_MEM_ALLOC_ENABLE', None); before = list(sys.meta_path); prepare(['train', 'run'])\n"
        "print(sys.meta_path == before, 'GOMP_SPINCOUNT' in os.environ, 'THP_MEM_ALLOC_ENABLE' in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


@pytest.mark.thorough
def test_training_starts_with_all_of_torch() -> None:
    code = (
        "import os, sys; os.environ.pop('GOMP_SPINCOUNT', None); from hgs_cli.starting import prepare\n"
        "prepare(['train', 'run']); import torch._meta_registrations as all_of_it\n"
        "print(type(all_of_it).__name__, 'GOMP_SPINCOUNT' in os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["module", "False"]
