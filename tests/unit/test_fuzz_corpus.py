"""What the fuzzers were given and what they found: tests/fuzz/corpus, byte by byte."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest

from bot.mail import kinds, message, sources
from bot.mail.patchtext import patch_texts
from bot.mail.series import sort_out
from tests.bench import mails
from tests.fuzz import damage, targets
from tests.letters import letter, mbox

CORPUS = Path(targets.__file__).with_name("corpus")
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
PATCH = letter("[PATCH 1/2] one", id="one@x", parents=["zero@x"])
ODD = 0.3  # of the mails of the list below are damaged


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_holds_now(path: Path) -> None:
    targets.TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_something_to_begin_with() -> None:
    assert {path.parent.name for path in FILES} == set(targets.TARGETS)


@pytest.mark.parametrize("number", range(len(damage.ALL)))
def test_no_kind_of_damage_breaks_a_promise(number: int) -> None:
    for seed in range(6):
        chance = random.Random(seed)  # noqa: S311 - not for secrets
        targets.one_mail(damage.ALL[number](PATCH, chance))


def test_a_list_full_of_damaged_mail_is_read_to_its_end() -> None:
    raws = list(mails.mails(1500, odd=ODD))
    boxed = list(sources.split(io.BytesIO(mbox(raws))))
    assert len(boxed) > 0.9 * len(raws)
    sorted_raws = [(raw, kinds.sort(raw)) for raw in raws]
    assert all(kind.reason for _, kind in sorted_raws)
    read = [message.parse(raw) for raw, kind in sorted_raws if kind.may_belong]
    found = sort_out(read)
    assert sum(one.complete for one in found.series) > 20
    assert any(one.problem for one in found.series)
    assert sum(len(patch_texts(one)) for one in found.series) > 100


def test_the_list_is_the_same_each_time() -> None:
    assert list(mails.mails(300)) == list(mails.mails(300))
