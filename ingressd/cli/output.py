"""The flag --output of the commands that print something."""

from enum import StrEnum

from ingressd.cli.flags import Flag
from ingressd.cli.values import choice


class OutputFormat(StrEnum):
    """TEXT is for people and may change; JSON is for programs, its keys are stable."""

    TEXT = "text"
    JSON = "json"


OUTPUT = Flag(
    "output",
    choice(OutputFormat),
    OutputFormat.TEXT,
    "text for people, json for programs",
    metavar="text|json",
    default_text="text",
)
