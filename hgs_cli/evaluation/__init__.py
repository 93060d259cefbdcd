"""The tables of quality: what is rendered, measured against recordings and against other ways to do it."""

from hgs_cli.evaluation.cross_pitch import measure_cross_pitch
from hgs_cli.evaluation.cross_pitch_result import CrossPitchOptions, CrossPitchResult
from hgs_cli.evaluation.measures import Distance, Mean, bootstrap_interval, side_measures, track_pitch
from hgs_cli.evaluation.recordings import Note, read_notes
from hgs_cli.evaluation.report import Report, Section, Table, finite, number

__all__ = [
    "CrossPitchOptions",
    "CrossPitchResult",
    "Distance",
    "Mean",
    "Note",
    "Report",
    "Section",
    "Table",
    "bootstrap_interval",
    "finite",
    "measure_cross_pitch",
    "number",
    "read_notes",
    "side_measures",
    "track_pitch",
]
