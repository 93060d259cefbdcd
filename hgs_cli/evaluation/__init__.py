"""The tables of quality: what is rendered, measured against recordings and against other ways to do it."""

from hgs_cli.evaluation.cross_pitch import evaluate, track_pitch
from hgs_cli.evaluation.report import Report, Section, Table

__all__ = ["Report", "Section", "Table", "evaluate", "track_pitch"]
