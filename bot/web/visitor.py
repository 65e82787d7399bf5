"""Who asks for a page."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Visitor:
    """Whoever asks; ``word`` is what the forms of this visit carry."""

    who: str = ""  # address; "": did not sign in
    word: str = ""
    may: bool = False  # sign in


NOBODY = Visitor()
current: ContextVar[Visitor] = ContextVar("visitor", default=NOBODY)
