"""Questions about the calls of one kernel, and what is answered; sizes are bytes."""

from __future__ import annotations

from bot.contract import Chain, Record


class Question(Record):
    """What is asked of a kernel; whatever is empty is not asked."""

    facts: str  # artifact: facts of the whole kernel
    arch: str  # the kernel's ARCH= spelling
    text: str = ""  # names of functions that hold this
    around: str = ""  # a function whose callers and callees are wanted
    start: str = ""  # of a path, with `end`
    end: str = ""


class Near(Record):
    """A function that calls another one, or is called by it."""

    function: str
    file: str  # of the call
    line: int
    how: str
    frame: int


class Around(Record):
    """A function among others; the lists are the first of so many."""

    function: str
    file: str
    line: int
    frame: int
    callers: tuple[Near, ...]
    callees: tuple[Near, ...]
    fan_in: int
    fan_out: int


class Explored(Record):
    """The answers; `problem` is one sentence where a question has none."""

    functions: int = 0  # of the kernel
    names: tuple[str, ...] = ()
    around: Around | None = None
    chain: Chain | None = None  # its `after`; `before` is empty
    problem: str = ""
