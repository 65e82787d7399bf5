"""Which trees a series is meant for, as far as its subject, its lists and MAINTAINERS tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.mail.series import Series
from policies.trees import Trees, Where

SCHEME = re.compile(r"^(?:[a-z+]{1,10}://)?(?:[^/@\s]{1,100}@)?", re.IGNORECASE)
ID = re.compile(r"<([^<>]{1,300})>")


class How(StrEnum):
    """By what a base is looked for, in this order."""

    ASKED = "asked"
    PREREQUISITES = "prerequisites"
    BASE_COMMIT = "base-commit"
    BLOBS = "blobs"
    TAG = "tag"
    LIST = "list"
    MAINTAINERS = "maintainers"
    LAST = "last"
    CONFIGURED = "configured"
    REPOSITORY = "repository"  # which could not even be opened


@dataclass(frozen=True)
class Hint:
    """A tree that a series may be meant for: by its name, or where it is kept."""

    how: How
    name: str  # as policies/trees.toml has it; "" for a place of MAINTAINERS
    where: Where | None
    why: str  # after "the tree that": "the subject's tag mm-unstable names"


def hints(
    series: Series, policy: Trees, sources: Sequence[str], here: Sequence[str]
) -> Iterator[Hint]:
    """Yield the trees that a series may be meant for, the likeliest first.

    ``sources`` are the values of T: entries of MAINTAINERS for the files that it touches,
    ``here`` the names of the trees that there are.
    """
    for tag in series.tags:
        for name in _of_tag(tag, policy, here):
            yield Hint(How.TAG, name, policy.tree.get(name), f"the subject's tag {tag} names")
    rules = {rule.address: rule for rule in policy.list}
    for address in _lists(series, rules):
        for name in rules[address].trees:
            yield Hint(How.LIST, name, policy.tree[name], f"patches to {address} go into")
    for source in sources:
        where = _place(source)
        if where is not None:
            yield Hint(How.MAINTAINERS, "", where, "MAINTAINERS names")
    for name in policy.last.trees:
        yield Hint(How.LAST, name, policy.tree[name], "is taken where nothing says more")


def _of_tag(tag: str, policy: Trees, here: Sequence[str]) -> tuple[str, ...]:
    """Return the trees that a tag means; none for words as "RFC"."""
    known = {name.lower(): name for name in (*here, *policy.tree)}
    if tag.lower() in known:
        return (known[tag.lower()],)
    return next((rule.trees for rule in policy.tag if rule.tag.lower() == tag.lower()), ())


def _lists(series: Series, known: Collection[str]) -> tuple[str, ...]:
    """Return the known lists that a series went to, in the order of To and Cc."""
    mails = [series.lead, *(patch.message for patch in series.patches)]
    named = [one.email.lower() for mail in mails for one in (*mail.to, *mail.cc)]
    by_id = {address.replace("@", "."): address for address in known}
    ids = [found[1].lower() for mail in mails for found in ID.finditer(mail.list_id)]
    named += [by_id[one] for one in ids if one in by_id]
    return tuple(dict.fromkeys(one for one in named if one in known))


def _place(source: str) -> Where | None:
    """Read a T: entry, "git URL [branch]"; other kinds of trees cannot be cloned."""
    match source.split():
        case ["git", url]:
            return Where(url=url, branch="HEAD")
        case ["git", url, branch, *_]:
            return Where(url=url, branch=branch)
    return None


def same_place(one: str, other: str) -> bool:
    """Tell whether two URLs name one repository, whatever they are fetched by."""
    return bool(one) and _plain(one) == _plain(other)


def _plain(url: str) -> str:
    return SCHEME.sub("", url.strip(), count=1).rstrip("/").removesuffix(".git").lower()
