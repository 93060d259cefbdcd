"""HgsError and its family: every failure that a user can cause, with its exit code."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text without line breaks and codes that steer a terminal, which names of files may hold; each is a space.

    Bytes that are no UTF-8 reach Python as lone surrogates and stay, for they print as what they were; but not those
    below 0xA0, among which terminals know codes, too.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or "\udca0" <= each <= "\udcff" else " " for each in text)


class HgsError(Exception):
    """A failure that the user can mend: what happened, and what to do about it.

    Args:
        what: The fact, naming the value or file that was received.
        remedy: What is allowed, or the way out.
    """

    exit_code = 1
    longest = 600  # characters of the line: a name or a number may be as long as its file

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        what, remedy = printable(self.what), printable(self.remedy)  # one line, whatever it names
        spare = max(0, len(what) + len(remedy) + 3 - self.longest)
        if spare:
            half = max(0, len(what) - spare - 1) // 2
            what = f"{what[:half]}…{what[len(what) - half :]}"
        return f"{what} — {remedy}"


class UsageError(HgsError):
    """A command line that cannot be carried out: a bad pitch spec, an absent device."""

    exit_code = 2


class InputError(HgsError):
    """A sound or an .hgs file that cannot be used."""

    exit_code = 3


class WeightsError(HgsError):
    """A weights bundle that is missing, damaged or of another format."""

    exit_code = 4


class OutputError(HgsError):
    """A file that cannot be written, or must not be overwritten."""

    exit_code = 5


class ExistingFileError(OutputError):
    """A file that is there already and was not to be overwritten."""


class TrainingError(HgsError):
    """A data set, checkpoint or run that training cannot go on with."""

    exit_code = 6
