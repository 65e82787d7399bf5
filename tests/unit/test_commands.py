from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.mail.commands import arguments_json, find, mail_named

OWN = ("bot@x.org",)
DIFF = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@\n a\n+b\n"
PLAIN = "text/plain; charset=utf-8"


def mail(body: str, kind: str = PLAIN, coding: str = "8bit", to: str = "bot@x.org") -> bytes:
    return (
        f"From: A. Body <a@x.org>\nTo: {to}\nSubject: Re: [PATCH] x\nMessage-ID: <m@x>\n"
        f"MIME-Version: 1.0\nContent-Type: {kind}\nContent-Transfer-Encoding: {coding}\n\n{body}"
    ).encode()


def parts(*bodies: str) -> str:
    return "".join(f"--B\n{one}\n" for one in bodies) + "--B--\n"


def said(raw: bytes) -> list[tuple[str, dict[str, object]]]:
    return [(one.verb, arguments_json(one)) for one in find(raw, OWN)]


@dataclass(frozen=True)
class Case:
    """A mail and the commands in it."""

    raw: bytes
    commands: list[tuple[str, dict[str, object]]] = field(default_factory=list)


TEST: list[tuple[str, dict[str, object]]] = [("test", {})]
MIXED, FLOWED, HTML = 'multipart/mixed; boundary="B"', f"{PLAIN}; format=flowed", "text/html"
CASES = {
    "alone": Case(mail("/test\n"), TEST),
    "CRLF": Case(mail("Hi\r\n/test\r\n"), TEST),
    "below talk": Case(mail("Please.\n\n/test\nThanks\n"), TEST),
    "with jobs": Case(mail("/test stack build\n"), [("test", {"jobs": ["build", "stack"]})]),
    "in capitals": Case(mail("/TEST Build\n"), [("test", {"jobs": ["build"]})]),
    "with options": Case(
        mail("/test profile=quick config=default base=v6.1 fresh\n"),
        [("test", {"fresh": True, "profile": "quick", "config": "default", "base": "v6.1"})],
    ),
    "with a Message-ID": Case(mail("/test <1.2@x.org>\n"), [("test", {"message_id": "1.2@x.org"})]),
    "with a link": Case(
        mail("/test https://lore.kernel.org/linux-mm/1.2@x.org/T/#u\n"),
        [("test", {"message_id": "1.2@x.org"})],
    ),
    "mute and unmute": Case(
        mail("/mute 6f81cfe too small to matter\n/unmute 6f81cfe\n"),
        [("mute", {"finding": "6f81cfe", "reason": "too small to matter"}),
         ("unmute", {"finding": "6f81cfe"})],
    ),
    "a finding in brackets": Case(
        mail("/mute [6f81cfe]\n/unmute [6f81cfe]\n"),
        [("mute", {"finding": "6f81cfe"}), ("unmute", {"finding": "6f81cfe"})],
    ),
    "cancel and help": Case(mail("/cancel\n/help\n"), [("cancel", {}), ("help", {})]),
    "non-breaking spaces": Case(mail("\u00a0/test\u00a0build\n"), [("test", {"jobs": ["build"]})]),
    "zero-width spaces": Case(mail("\u200b/test\n"), TEST),
    "a byte order mark": Case(mail("\ufeff/test\n"), TEST),
    "flowed": Case(mail("/test build \nstack\n", FLOWED), [("test", {"jobs": ["build", "stack"]})]),
    "space-stuffed": Case(mail(" /test\n", FLOWED), TEST),
    "base64": Case(mail("L3Rlc3QK", coding="base64"), TEST),
    "quoted-printable": Case(mail("=2Ftest\n", coding="quoted-printable"), TEST),
    "HTML alone": Case(
        mail("<p>Hi</p><div>/test&nbsp;build</div><blockquote>/cancel</blockquote>", HTML),
        [("test", {"jobs": ["build"]})],
    ),
    "HTML with a script": Case(mail("<script>/cancel</script>/test<br>", HTML), TEST),
    "text beside HTML": Case(
        mail(parts("Content-Type: text/plain\n\n/test", "Content-Type: text/html\n\n<p>/test</p>"),
             'multipart/alternative; boundary="B"'),
        TEST,
    ),
    "below a diff": Case(mail(f"{DIFF} c\n\n/test\n"), TEST),
    "quoted": Case(mail("> /test\n>/test\n >/test\n")),
    "indented": Case(mail("  /test\n")),
    "in the middle of a line": Case(mail("Try /test\n")),
    "in a signature": Case(mail("Hi\n-- \n/test\n")),
    "in a diff": Case(mail(f"{DIFF}/test\n c\n")),
    "in an attachment": Case(
        mail(parts("Content-Type: text/plain\n\nHi",
                   "Content-Type: text/plain\nContent-Disposition: attachment\n\n/test"), MIXED)
    ),
    "in a mail that is attached": Case(
        mail(parts("Content-Type: text/plain\n\nHi",
                   "Content-Type: message/rfc822\n\nSubject: x\n\n/test"), MIXED)
    ),
    "below the mail that Outlook quotes": Case(
        mail("Yes.\n-----Original Message-----\nFrom: x\n/test\n")
    ),
    "below a flowed quote": Case(mail("> Why does \n/test\n> it grow?\n", FLOWED), TEST),
    "flowed with DelSp": Case(
        mail("/test bui \nld\n", f"{FLOWED}; delsp=yes"), [("test", {"jobs": ["build"]})]
    ),
    "soft line breaks": Case(
        mail("/test bui=\nld\n", coding="quoted-printable"), [("test", {"jobs": ["build"]})]
    ),
    "below a quote": Case(
        mail("On Mon, 5 Jan 2026,\nJane <j@x.org> wrote:\n\n> /cancel\n\n/test\n"), TEST
    ),
    "below a quote without marks": Case(
        mail("Yes.\n\nOn Mon, 5 Jan 2026,\nJane <j@x.org> wrote:\n\nHi,\n/test\n")
    ),
    "below the headers of a quoted mail": Case(
        mail("Yes.\n\nFrom: Jane <j@x.org>\nSent: Monday\nTo: me\n\n/test\n")
    ),
    "between two diffs": Case(mail(f"{DIFF} c\n\n/test\n\n{DIFF} c\n"), TEST),
    "in a damaged hunk": Case(mail(f"{DIFF}wrapped\n/test\n c\n")),
    "a removed line that looks like a signature": Case(
        mail("--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n a\n-- \n\n/test\n"), TEST
    ),
    "HTML where the text is blank": Case(
        mail(parts("Content-Type: text/plain\n\n \n", "Content-Type: text/html\n\n<p>/test</p>"),
             'multipart/alternative; boundary="B"'),
        TEST,
    ),
    "HTML commented out": Case(mail("<!-- <p>/cancel</p> -->\n<p>/test</p><!-- /help", HTML), TEST),
    "HTML with an open quote": Case(mail("<p>/test</p><blockquote><p>/cancel", HTML), TEST),
    "preformatted HTML": Case(mail("<pre>Hi\n/test\n  /cancel</pre>", HTML), TEST),
    "HTML with odd attributes": Case(mail("<p title='>\n/x'>/test</p>", HTML), TEST),
    "several texts": Case(
        mail(parts("Content-Type: text/plain\n\n/test\n-- \nme",
                   "Content-Type: text/html\n\n<p>/cancel</p>"), MIXED),
        [("test", {}), ("cancel", {})],
    ),
    "in an inline patch": Case(
        mail(parts("Content-Type: text/plain\nContent-Disposition: inline; filename=x.patch\n"
                   "\n/test"), MIXED)
    ),
    "paths and comments": Case(mail("/usr/bin/foo\n/dev/null\n/* x */\n/proc says\n//test\n")),
    "how some sign": Case(mail("Fine with me.\n\n/M\n")),
    "no command at all": Case(mail("Fine with me.\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_mail_asks_for(name: str) -> None:
    assert said(CASES[name].raw) == CASES[name].commands
    assert all(one.problem is None for one in find(CASES[name].raw, OWN))


PROBLEMS = {
    "/tset": "there is no command /tset; there are /test, /cancel, /mute, /unmute, /help",
    "/test everything": '/test does not know "everything"',
    "/test profile=../x": '"../x" cannot be a profile',
    "/test base=a base=b": "there are two values for base",
    "/mute": "/mute needs the name of a finding",
    "/unmute a b": "/unmute needs the name of one finding",
    "/cancel it all": '/cancel does not know "it all"',
}


def test_lines_are_counted_in_the_decoded_text() -> None:
    found = find(mail("Hi=\n there\n\n/test\n", coding="quoted-printable"), OWN)
    assert [one.line for one in found] == [3]
    both = parts("Content-Type: text/plain\n\none\n/test\n", "Content-Type: text/plain\n\n/help\n")
    assert [one.line for one in find(mail(both, MIXED), OWN)] == [2, 3]


def test_no_mail_fills_a_screen() -> None:
    assert len(find(mail("/test\n" * 10_000), OWN)) == 10
    (long,) = find(mail("/mute x " + "y" * 2000 + "\n"), OWN)
    assert long.problem == "the line is longer than 998 characters"
    (late,) = find(mail("/test " + "z" * 500 + "\n"), OWN)
    assert late.problem is not None
    assert len(late.problem) < 300


@pytest.mark.parametrize("line", PROBLEMS)
def test_what_is_wrong_is_said(line: str) -> None:
    (command,) = find(mail(f"{line}\n"), OWN)
    assert command.problem is not None
    assert command.problem.startswith(PROBLEMS[line])


def test_three_commands_of_a_mail_count() -> None:
    found = find(mail("/test\n/help\n/cancel\n/test\n"), OWN)
    assert [one.problem for one in found] == [
        None, None, None, "only the first 3 commands of a mail count",
    ]  # fmt: skip
    assert [one.line for one in found] == [1, 2, 3, 4]
    assert len(find(mail("/test\n" * 1000), OWN)) == 10


@pytest.mark.parametrize(
    ("to", "addressed"),
    [
        ("bot@x.org", True), ("Bot <BOT@X.ORG>", True), ("bot+mm@x.org", True),
        ("list@x.org\nCc: bot@x.org", True), ("list@x.org", False), ("bot@x.org.evil", False),
        ("robot@x.org", False),
    ],
)  # fmt: skip
def test_who_is_asked(to: str, *, addressed: bool) -> None:
    (command,) = find(mail("/test\n", to=to), OWN)
    assert command.addressed is addressed


def test_what_others_are_asked_is_no_unknown_command() -> None:
    assert find(mail("/assign me\n", to="other-bot@x.org"), OWN) == ()


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("<a.b@c.d>", "a.b@c.d"), ("a.b@c.d", "a.b@c.d"), ("id:a@c.d", "a@c.d"),
        ("https://lore.kernel.org/r/a@c.d", "a@c.d"), ("https://patch.msgid.link/a@c.d", "a@c.d"),
        ("https://lore.kernel.org/all/a%2Fb@c.d/", None), ("http://[", None), ("v6.1", None),
        ("a b@c", None), (f"{'a' * 300}@c.d", None),
    ],
)  # fmt: skip
def test_a_mail_is_named(word: str, named: str | None) -> None:
    assert mail_named(word) == named


@given(st.binary(max_size=400))
def test_no_body_is_too_odd(body: bytes) -> None:
    for kind in ("text/plain", "text/html", FLOWED, MIXED):
        for one in find(mail("", kind) + body, OWN):
            assert one.line > 0
