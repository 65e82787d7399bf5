"""What is said of a hunk that does not fit, and how an upper layer is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.contract import Misfit
from workers import misfit, upper

FILE = [b"line %d" % n for n in range(1, 101)]


def of(old: list[bytes], start: int, *more: misfit.Hunk, new: tuple[bytes, ...] = ()) -> Misfit:
    hunks = [misfit.Hunk(start, tuple(old), new), *more]
    found = misfit.of_hunks(3, "mm/a.c", FILE, hunks)
    assert found is not None
    return found


def test_what_is_shown_holds_the_line_that_differs() -> None:
    old = [*FILE[40:60], b"other", *FILE[61:65]]
    found = of(old, 40)
    assert (found.hunk, found.line) == (1, 58)
    assert found.expected[:5] == ("line 58", "line 59", "line 60", "other", "line 62")
    assert found.found[:5] == ("line 58", "line 59", "line 60", "line 61", "line 62")


def test_the_place_is_where_most_of_the_hunk_stands() -> None:
    found = of([*FILE[70:73], b"other", *FILE[74:77]], 20)
    assert (found.line, found.found[3]) == (71, "line 74")


def test_a_hunk_of_which_nothing_stands_is_shown_where_it_wants_to_be() -> None:
    assert of([b"x", b"y"], 10).found == ("line 11", "line 12")


def test_hunks_before_it_tell_where_a_hunk_wants_to_be() -> None:
    hunks = [misfit.Hunk(8, tuple(FILE[10:13]), ()), misfit.Hunk(20, (b"x",), ())]
    found = misfit.of_hunks(1, "mm/a.c", FILE, hunks)
    assert found is not None
    assert (found.hunk, found.line, found.found) == (2, 23, ("line 23",))


def test_a_hunk_beyond_the_end_finds_nothing() -> None:
    assert of([b"x", b"y"], 500).found == ()


def test_a_change_that_is_there_already_is_told() -> None:
    found = of([b"line 5", b"old", b"line 7"], 4, new=(b"line 5", b"line 6", b"line 7"))
    assert found.reason == "hunk 1 of mm/a.c is there already, at line 5"


def test_hunks_that_fit_are_no_misfit() -> None:
    hunks = [misfit.Hunk(8, tuple(FILE[10:13]), ()), misfit.Hunk(50, tuple(FILE[52:55]), ())]
    assert misfit.of_hunks(1, "a", FILE, hunks) is None
    assert misfit.of_hunks(1, "a", [], [misfit.Hunk(0, (), (b"x",))]) is None


@pytest.mark.parametrize(("near", "place"), [(0, 1), (3, 1), (5, 7), (90, 7)])
def test_the_nearest_place_is_found(near: int, place: int) -> None:
    lines = misfit.Lines([b"a", b"x", b"y", b"a", b"b", b"x", b"a", b"x", b"y"])
    assert lines.find([b"x", b"y"], near) == place


def test_a_hunk_is_made_of_signs_and_lines() -> None:
    lines = [(" ", b"a\r\n"), ("-", b"b\n"), ("+", b"c\n"), ("<", b"\\ No newline")]
    assert misfit.hunk(7, lines) == misfit.Hunk(6, (b"a", b"b"), (b"a", b"c"))
    assert misfit.hunk(0, []).start == 0


def test_a_layer_holds_what_was_written_last(tmp_path: Path) -> None:
    upper.write(tmp_path, {"a": (False, b"1"), "d/x": (True, b"2"), "e/f/g": (False, b"3")})
    assert (tmp_path / "d/x").stat().st_mode & 0o777 == 0o755
    upper.write(tmp_path, {"a": None, "a/b": (False, b"4"), "d/x": None, "d": (False, b"5")})
    upper.write(tmp_path, {"e/f/g": None, "never/was": None})
    files = {
        str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()
    }
    assert files == {"a/b": b"4", "d": b"5"}


def test_a_file_that_became_a_directory_is_not_taken_out() -> None:
    files = {"z": None, "a": None, "a/b": 1, "d/x": None, "d": 1}
    assert upper.removed(files) == ("d/x", "z")
