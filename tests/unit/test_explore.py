"""Questions about the calls of a kernel, on a small program, and their page."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bot.contract import Chain
from bot.contract.explore import Explored, Question
from bot.errors import OursError
from bot.service import reports
from bot.store import wishes
from bot.store.database import Store
from bot.store.wishes import Ended, Wish
from bot.verbs import exploring
from bot.verbs.exploring import Explorers
from bot.web.app import make_app
from bot.web.explorer import Guide
from policies import stackrules
from policies.stackrules import StackPolicy
from tests import crowd
from tests.stores import opened
from tests.unit.test_pages import NOW, SETTINGS
from tests.unit.test_stackrules import MACHINE, program, rules
from workers.artifacts import Artifacts
from workers.config import WorkerConfig
from workers.stack.depth import Kernel
from workers.stack.explore import Explorer
from workers.stack.rules import Compiled

ASK = Question(facts="f" * 64, arch="x86_64")
CALLS = {
    "top": (100, ["mid", "side"]), "side": (8, ["low"]), "mid": (40, ["low"]),
    "low": (30, ["leaf", "mid"]), "leaf": (8, []), "lonely": (16, []), "low_water": (24, []),
}  # fmt: skip


@pytest.fixture
def explored() -> Explorer:
    ours = rules()
    loaded = stackrules.load()
    policy = StackPolicy(rules=ours, machines=loaded.machines, profiles=())
    linked = program({name: (frame, list(calls)) for name, (frame, calls) in CALLS.items()})
    return Explorer(Kernel(linked, Compiled(linked, ours), MACHINE), policy)


def test_functions_are_found_by_a_part_of_their_name(explored: Explorer) -> None:
    found = explored.answer(ASK.model_copy(update={"text": "LOW"}))
    assert found.names == ("low", "low_water")
    assert found.functions == len(CALLS)
    assert explored.answer(ASK.model_copy(update={"text": "nosuch"})).names == ()


def test_who_calls_whom_is_told_the_largest_frames_first(explored: Explorer) -> None:
    around = explored.answer(ASK.model_copy(update={"around": "low"})).around
    assert around is not None
    assert [(one.function, one.frame) for one in around.callers] == [("mid", 40), ("side", 8)]
    assert [one.function for one in around.callees] == ["mid", "leaf"]
    assert (around.fan_in, around.fan_out, around.frame) == (2, 2, 30)
    alone = explored.answer(ASK.model_copy(update={"around": "lonely"})).around
    assert alone is not None
    assert (alone.fan_in, alone.fan_out) == (0, 0)


def test_the_deepest_way_between_two_is_told(explored: Explorer) -> None:
    found = explored.answer(ASK.model_copy(update={"start": "top", "end": "leaf"}))
    assert found.chain is not None
    assert found.chain.after is not None
    names = [one.function for one in found.chain.after.hops if not one.function.startswith("(")]
    assert names[:4] == ["top", "mid", "low", "leaf"]
    assert not found.problem


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [("leaf", "top", "no path leads from leaf"), ("top", "nosuch", "has no function nosuch()")],
)
def test_a_way_that_is_none_is_told(explored: Explorer, start: str, end: str, why: str) -> None:
    found = explored.answer(ASK.model_copy(update={"start": start, "end": end}))
    assert why in found.problem


# the process that answers


@pytest.fixture
def explorers(tmp_path: Path) -> Iterator[Explorers]:
    found = Explorers(WorkerConfig(tmp_path, tmp_path, 65534, 1, None, 0))
    yield found
    found.close()


def test_facts_that_are_gone_or_none_are_told(explorers: Explorers, tmp_path: Path) -> None:
    with pytest.raises(OursError, match="is gone"):
        explorers.ask(ASK)
    worker = WorkerConfig(tmp_path, tmp_path, 65534, 1, None, 0)
    key = Artifacts(worker.artifacts, None).put(b"no facts at all")
    with pytest.raises(OursError):
        explorers.ask(ASK.model_copy(update={"facts": key}))


def test_an_answer_that_takes_too_long_is_given_up(
    explorers: Explorers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "PATIENCE", 0.01)  # less than a process takes to begin
    with pytest.raises(OursError, match="too long"):
        explorers.ask(ASK)
    monkeypatch.setattr(exploring, "PATIENCE", 30.0)
    with pytest.raises(OursError, match="is gone"):  # a new one answers
        explorers.ask(ASK)


def test_the_process_ends_when_nobody_asks(
    explorers: Explorers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "IDLE", 0.1)
    with pytest.raises(OursError):
        explorers.ask(ASK)
    end = time.monotonic() + 20
    while explorers._pool is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert explorers._pool is None


# the page


class Oracle:
    def __init__(self, answer: Explored | OursError) -> None:
        self.answer, self.asked = answer, [ASK][:0]

    def ask(self, question: Question) -> Explored:
        self.asked.append(question)
        if isinstance(self.answer, OursError):
            raise self.answer
        return self.answer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = opened(tmp_path / "store.db")
    crowd.fill(found, 40)
    report = crowd.report(0)
    build = report.build.model_copy(update={"kernel_facts": "a" * 64})
    text = reports.write(report.model_copy(update={"build": build}))
    with found.session() as session:
        number = wishes.want(session, crowd.lead(1), {}, None, NOW)
        wishes.keep(session, Ended("z" * 64, crowd.lead(1), "passed", text), NOW)
        wishes.end(session, number, Wish.DONE, "", NOW, "z" * 64)
    return found


def shown(store: Store, guide: Guide, query: str) -> str:
    with TestClient(make_app(store, SETTINGS, lambda: NOW, guide=guide)) as client:
        answer = client.get(f"/chains{query}")
        assert answer.status_code == 200
        text: str = answer.text
        return text


def test_the_kernels_of_runs_can_be_picked(store: Store) -> None:
    guide = Oracle(Explored(functions=9, names=("a_b", "<i>")))
    text = shown(store, guide, "")
    assert f'<option value="{"a" * 64}" selected>t cccccccccccc, Linux 6.1.192, x86_64' in text
    assert guide.asked == []
    found = shown(store, guide, f"?kernel={'a' * 64}&text=b")
    assert "around=a_b" in found
    assert "&lt;i&gt;" in found
    assert [(one.facts, one.text) for one in guide.asked] == [("a" * 64, "b")]
    assert "none" not in shown(store, guide, "?kernel=none&text=b")  # no other file is asked for
    assert guide.asked[-1].facts == "a" * 64


def test_a_chain_is_drawn_and_what_cannot_be_answered_is_told(store: Store) -> None:
    chain = Chain(
        profile="explored", name="", waypoints=("a", "b"), before=None, after=crowd.depth(88),
        budget_bytes=16384,
    )  # fmt: skip
    text = shown(store, Oracle(Explored(chain=chain)), "?start=a&end=b()")
    assert "488 bytes, and never more than 488" in text
    assert text.count("<title>after:") == 5
    assert "budget" not in text  # of a part of a stack that says nothing
    heights = [float(one) for one in re.findall(r'class="bar same"[^>]*height="([\d.]+)"', text)]
    assert sum(heights) == pytest.approx(900, abs=0.1)
    assert 'role="alert"' in shown(store, Oracle(OursError("it is gone")), "?text=x")
    assert "no way" in shown(store, Oracle(Explored(problem="no way")), "?text=x")


def test_without_a_run_there_is_nothing_to_ask(tmp_path: Path) -> None:
    empty = opened(tmp_path / "store.db")
    assert "No kernel of a run" in shown(empty, Oracle(Explored()), "?text=x")


def test_who_asks_too_often_is_told_to_wait(store: Store) -> None:
    guide = Oracle(Explored())
    with TestClient(make_app(store, SETTINGS, lambda: NOW, guide=guide)) as client:
        codes = [client.get("/chains?text=x").status_code for _ in range(35)]
        assert codes.count(200) == len(guide.asked) == 30
        assert codes[-1] == 429
        assert client.get("/chains").status_code == client.get("/about").status_code == 200
