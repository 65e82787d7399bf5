"""What `stackhog review` makes of a broken policy, of odd results and of a series with holes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.contract import BuildResult, Misfit, OursError, Outcome, StackResult, TheirsError
from bot.mail.message import parse
from bot.mail.series import assemble
from bot.review import jobs
from bot.review.jobs import Results
from bot.verbs import reviewing
from policies import schema
from tests.letters import letter, sending

GATES = Path(schema.__file__).with_name("gates.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("note_bytes = 64 ", "note_bytes = -1 ", r"line {}: frame\.note_bytes: Input should be"),
        ("new_bytes = 256 ", "bytes = 256 ", r"line 3: frame\.new_bytes: Field required"),
        ("fails = true", 'fails = "maybe"', r"line {}: warning\.fails: Input should be"),
        ("callee = 'indirect", "callee = '(indirect", r"line {}: call\.2\.callee: .*regular"),
        ("[reply]", "[replies]", r"gates\.toml: reply: Field required"),
        ("[warning]", "[warning", r"gates\.toml: .*line {}, column"),
        ("reached_fails = true", "reached_fails", r"gates\.toml: .*line {}, column"),
    ],
)
def test_a_broken_policy_is_ours_and_told_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    path = tmp_path / "gates.toml"
    path.write_text(GATES.replace(old, new, 1), encoding="utf-8")
    line = GATES[: GATES.index(old)].count("\n") + 1
    monkeypatch.setattr(reviewing, "load_gates", lambda: schema.load_gates(path))
    with pytest.raises(OursError, match=words.format(line)) as raised:
        reviewing.gates()
    assert str(raised.value).startswith(str(path))


def test_a_policy_that_is_not_there_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gates.toml"
    monkeypatch.setattr(reviewing, "load_gates", lambda: schema.load_gates(path))
    with pytest.raises(OursError, match=r"gates\.toml: .*No such file"):
        reviewing.gates()


PASSED = BuildResult(outcome=Outcome.PASSED)
FAILED = BuildResult(outcome=Outcome.FAILED, reason="the tree is gone")
MISFIT = Misfit(index=1, file=None, hunk=None, line=None, expected=(), found=(), reason="no")


@pytest.mark.parametrize(
    ("results", "words"),
    [
        (Results(FAILED, None), "the tree is gone"),
        (Results(BuildResult(outcome=Outcome.SKIPPED, reason="not Linux"), None), "not Linux"),
        (Results(PASSED, StackResult(outcome=Outcome.FAILED, reason="two builds")), "two builds"),
    ],
)
def test_a_result_that_names_no_patch_is_never_a_reply(results: Results, words: str) -> None:
    with pytest.raises(TheirsError, match=words):
        jobs.check(results)


@pytest.mark.parametrize(
    "results",
    [
        Results(PASSED, StackResult(outcome=Outcome.PASSED)),
        Results(FAILED.model_copy(update={"misfit": MISFIT}), None),
        Results(FAILED.model_copy(update={"broken_patch": 1}), None),
    ],
)
def test_a_result_that_names_a_patch_is_told_in_the_reply(results: Results) -> None:
    jobs.check(results)


def test_a_series_with_holes_is_refused_in_one_short_sentence() -> None:
    hostile = assemble([parse(letter("[PATCH 1/9999] one", id="1@x"))])
    with pytest.raises(TheirsError, match=r"patch 2-9999/9999 is missing$"):
        reviewing.pick(hostile, None, "box")
    usual = assemble(parse(mail) for mail in sending("a", 3)[:2])
    with pytest.raises(TheirsError, match=r"patch 2/3, 3/3 is missing$"):
        reviewing.pick(usual, None, "box")
