"""The two families of errors; bot/contract hands them on to the workers.

They stand apart because pydantic takes longer to import than `--help` may last::

    StackhogError
    ├── TheirsError   the input is wrong (patch, mailbox, usage): told to its author, exit 2
    └── OursError     infrastructure: told to the operator and retried, never mailed, exit 3
"""


class StackhogError(Exception):
    """Root of both families; its text is one sentence with cause and way out."""


class TheirsError(StackhogError):
    """The input is at fault; the sentence goes to whoever gave it."""


class OursError(StackhogError):
    """The machine or its set-up is at fault; the sentence goes to the operator."""
