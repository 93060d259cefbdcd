"""hgs: one recorded sound in, a playable pitched instrument out.

The public names are loaded at first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hgs_cli.pipeline import Finish, Inversion, Model, Rendered, Settings, invert, load_model, mix, render

__version__ = "0.1.0"
__all__ = [
    "Finish",
    "Inversion",
    "Model",
    "Rendered",
    "Settings",
    "__version__",
    "invert",
    "load_model",
    "mix",
    "render",
]


def __getattr__(name: str) -> object:
    """Look a public name up in `hgs_cli.pipeline`; torch is imported only then."""
    if name in __all__:
        from hgs_cli import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
