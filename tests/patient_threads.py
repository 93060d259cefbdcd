"""Import this before torch: threads of the tests, and of processes that they start, sleep while they wait.

By default those of torch ask again and again whether there is work for them. On a machine with other things to do that
takes five times as much of its processors as the work.
"""

from __future__ import annotations

import gc
import os

from hgs_cli.starting import GARBAGE_THRESHOLD

gc.set_threshold(GARBAGE_THRESHOLD)  # as hgs does
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
