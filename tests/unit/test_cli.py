from __future__ import annotations

import logging

import click
import pytest

from bot import cli
from bot.errors import OursError, TheirsError


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (TheirsError("the input is wrong"), 2, "the input is wrong"),
        (OursError("the machine is wrong"), 3, "the machine is wrong"),
        (OSError(28, "No space left", "/x"), 3, "No space left"),
        (KeyError("nobody"), 3, "an error of our own (KeyError: 'nobody')"),
        (AssertionError(), 3, "an error of our own (AssertionError)"),
        (MemoryError("two\nlines"), 3, "an error of our own (MemoryError: two lines)"),
    ],
)
def test_every_error_is_one_sentence_and_no_finding(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    words: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(click.Group, "main", fail)
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert raised.value.code == status
    said = capsys.readouterr().err
    assert said.startswith("stackhog: ")
    assert words in said
    assert said.count("\n") == 1


def test_the_traceback_of_an_error_of_ours_is_told_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("nobody")

    monkeypatch.setattr(click.Group, "main", fail)
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit):
        cli.main()
    assert "KeyError" in caplog.text
