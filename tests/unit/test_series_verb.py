from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.mail.series import numbered
from bot.verbs.series import command
from tests.letters import letter, mbox, sending


def test_json_is_one_array(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(mbox([*sending("a", 2), *sending("b", 1, minutes=60)]))
    done = CliRunner().invoke(command, [str(tmp_path / "m"), "--json"], catch_exceptions=False)
    assert [one["id"] for one in json.loads(done.output)] == ["a-0", "b-0"]


def test_a_person_sees_what_is_missing(tmp_path: Path) -> None:
    mails = sending("a", 3, label="RFC PATCH v2 RESEND")
    mails[3] = mails[3].replace(b" int d;\n", b"").partition(b"-- \n")[0]
    (tmp_path / "m").write_bytes(mbox([mails[0], mails[1], mails[3]]))
    done = CliRunner().invoke(command, [str(tmp_path / "m")], catch_exceptions=False)
    assert done.output.splitlines() == [
        "2026-01-05  RFC RESEND v2  2/3  the cover  (Jane Doe)",
        "    a-0",
        "    missing: patch 2",
        "    problem: patch 3: the mail ends inside a hunk (lines left: 1) in the diff of mm/one.c",
    ]


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ((), ""),
        ((2,), "2"),
        ((1, 2), "1, 2"),
        ((1, 2, 3, 5, 7, 8), "1-3, 5, 7, 8"),
        (tuple(range(2, 10000)), "2-9999"),
        (tuple(range(1, 20, 2)), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19"),
        (tuple(range(1, 10000, 2)), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 4990 more"),
        ((*range(1, 20, 2), 21, 22, 23), "1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 3 more"),
    ],
)
def test_numbers_are_said_as_ranges_and_not_without_end(
    missing: tuple[int, ...], words: str
) -> None:
    assert numbered(missing) == words


def test_a_hostile_count_fills_no_screen(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(mbox([letter("[PATCH 1/9999] one", id="1")]))
    done = CliRunner().invoke(command, [str(tmp_path / "m")], catch_exceptions=False)
    assert done.output.splitlines()[-1] == "    missing: patch 2-9999"


def test_help_shows_an_example() -> None:
    done = CliRunner().invoke(command, ["--help"])
    assert "Example: stackhog series" in done.output
