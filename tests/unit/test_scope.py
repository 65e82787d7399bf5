from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.cli import cli
from bot.mail.message import parse
from bot.mail.series import Series, assemble
from bot.review.scope import Scope, scope
from policies.schema import PolicyError
from policies.scope import load
from tests.letters import letter, mbox

DOCS = Path(__file__).parents[2] / "docs" / "maintainers.md"


def body(path: str, section: str, *changed: str) -> str:
    """Return a patch mail's body that changes lines of one function."""
    added = sum(line.startswith("+") for line in changed)
    removed = sum(line.startswith("-") for line in changed)
    lines = "".join(f"{line}\n" for line in changed)
    return (
        f"Why.\n\nSigned-off-by: J <j@x>\n---\n {path} | 2 +-\n\n"
        f"diff --git a/{path} b/{path}\nindex 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n"
        f"@@ -10,{removed + 2} +10,{added + 2} @@ {section}\n \tint here;\n{lines} \tint there;\n"
        "-- \n2.39.5\n"
    )


def series(*bodies: str, subject: str = "PATCH") -> Series:
    total = len(bodies)
    mails = [
        letter(f"[{subject} {n}/{total}] p", one, id=f"a-{n}", parents=["a-1"] if n > 1 else [])
        for n, one in enumerate(bodies, 1)
    ]
    (found,) = assemble(map(parse, mails))
    return found


def decide(*bodies: str, subject: str = "PATCH") -> Scope:
    return scope(series(*bodies, subject=subject), load())


@dataclass(frozen=True)
class Pair:
    """A change that a rule takes, and a near miss, each as path, function and changed line."""

    takes: tuple[str, str, str]
    misses: tuple[str, str, str]


F = "static int f(struct page *page)"
RULES = {
    "reclaim": Pair(("mm/vmscan.c", F, "+\tscan();"), ("mm/vmstat.c", F, "+\tscan();")),
    "memory cgroup": Pair(
        ("mm/memcontrol.c", "static int try_charge_memcg(void)", "+\tscan();"),
        ("mm/memcontrol.c", "static int memcg_stat_show(void)", "+\tscan();"),
    ),
    "writeback": Pair(("mm/page_io.c", F, "+\tgo();"), ("fs/namei.c", F, "+\tgo();")),
    "allocator": Pair(
        ("mm/page_alloc.c", "static void *__alloc_pages_slowpath(void)", "+\tgo();"),
        ("mm/page_alloc.c", "static void show_free_areas(void)", "+\tgo();"),
    ),
    "address space operations": Pair(
        ("fs/omfs/file.c", "const struct address_space_operations x = {", "-\t.writepage = w,"),
        ("fs/omfs/file.c", "const struct file_operations x = {", "-\t.write_iter = w,"),
    ),
    "writepage": Pair(
        ("fs/jfs/file.c", F, "+\treturn mapping->a_ops->writepage(page, wbc);"),
        ("fs/jfs/file.c", F, '+\tpr_warn("->writepage(s) failed");'),
    ),
    "body of a writepage": Pair(
        ("fs/udf/inode.c", "static int udf_writepage(struct page *page)", "+\tgo();"),
        ("fs/udf/inode.c", "static int udf_evict(struct inode *inode)", "+\tgo();"),
    ),
    "allocation scope": Pair(
        ("fs/nfs/dir.c", F, "-\tp = get(sizeof(*p), GFP_NOFS);"),
        ("fs/nfs/dir.c", F, "+\tp = get(sizeof(*p), GFP_USER);"),
    ),
    "reclaim from elsewhere": Pair(
        ("kernel/power/snapshot.c", F, "+\tshrink_all_memory(n);"),
        ("kernel/power/snapshot.c", F, "+\tshrink_nothing(n);"),
    ),
    "shrinker": Pair(
        ("drivers/gpu/drm/x.c", F, "+\tshrinker_register(s);"),
        ("drivers/gpu/drm/x.c", F, "+\tpower_shrink(s);"),
    ),
    "submission of I/O": Pair(
        ("block/blk-core.c", "void submit_bio_noacct(struct bio *bio)", "+\tgo();"),
        ("block/blk-core.c", "static int __init genhd_setup(void)", "+\tgo();"),
    ),
    "stack": Pair(
        ("arch/x86/mm/x.c", F, "+static noinline_for_stack void g(void)"),
        ("arch/x86/mm/x.c", F, "+static noinline void g(void)"),
    ),
    "array on the stack": Pair(
        ("fs/proc/base.c", F, "+\tchar buffer[512];"),
        ("fs/proc/base.c", F, "+\tbuffer[i] = 5;"),
    ),
    "filesystem": Pair(
        ("fs/xfs/xfs_buf.c", F, "+\tp = kmalloc(n, flags);"),
        ("fs/proc/base.c", F, "+\tp = kmalloc(n, flags);"),
    ),
}


@pytest.mark.parametrize("name", [rule.name for rule in load().inside])
def test_a_rule_takes_what_it_is_for_and_not_its_neighbour(name: str) -> None:
    pair = RULES[name]
    taken = decide(body(*pair.takes))
    assert name in {match.rule for match in taken.matches}
    assert taken.inside
    assert name not in {match.rule for match in decide(body(*pair.misses)).matches}


@pytest.mark.parametrize("name", [rule.name for rule in (*load().inside, *load().outside)])
def test_every_rule_is_in_the_maintainers_guide(name: str) -> None:
    assert f"| {name} |" in DOCS.read_text()


def test_other_projects_are_told_apart() -> None:
    told = decide(body("tests/generic/700", F, "+\tfsync"))
    assert told.reason == (
        "user space: tests/generic/700: all its files are those of tests or tools outside of the "
        "kernel"
    )
    tagged = decide(body("mm/vmscan.c", F, "+\tgo();"), subject="PATCH e2fsprogs")
    assert (tagged.inside, tagged.reason.partition(":")[0]) == (False, "other project")
    assert decide(body("mm/vmscan.c", F, "+\tgo();"), subject="PATCH mm-new").inside


def test_stable_kernels_and_other_projects_lists_are_told_apart() -> None:
    change = body("mm/vmscan.c", F, "+\tgo();")
    assert decide(change, subject="PATCH 5.10.y").reason.startswith("stable kernels: [5.10.y]: ")
    mail = letter("[PATCH] p", change, id="1", headers="To: fstests@vger.kernel.org\n")
    (one,) = assemble([parse(mail)])
    assert scope(one, load()).reason.startswith("list of another project: fstests@vger.kernel.org")
    copied = letter(
        "[PATCH] p", change, id="1", headers="To: a@b.org\nCc: fstests@vger.kernel.org\n"
    )
    (one,) = assemble([parse(copied)])
    assert scope(one, load()).inside


def test_a_rule_can_be_that_of_a_list(tmp_path: Path) -> None:
    rule = 'name = "abc"\npath = "fs/.*"\nlists = "linux-x@.*"\nreason = "long enough"\n'
    (tmp_path / "scope.toml").write_text(f"outside = []\n[[inside]]\n{rule}")
    policy = load(tmp_path / "scope.toml")
    change = body("fs/x.c", F, "+\tgo();")
    for to, inside in (("linux-x@example.org", True), ("linux-y@example.org", False)):
        mail = letter("[PATCH] p", change, id="1", headers=f"To: y@z.org\nCc: {to}\n")
        (one,) = assemble([parse(mail)])
        assert scope(one, policy).inside is inside


def test_a_series_is_left_alone_only_when_all_its_files_are() -> None:
    text = body("Documentation/mm/x.rst", "", "+more words")
    assert decide(text).reason.startswith("no code: Documentation/mm/x.rst: ")
    assert decide(text, body("mm/vmscan.c", F, "+\tgo();")).inside


def test_comments_and_white_space_are_no_change() -> None:
    told = decide(body("mm/vmscan.c", F, "-\t/* GFP_NOFS */", "+\t/* GFP_KERNEL */", "+"))
    assert (told.inside, told.reason) == (False, "only comments and empty lines change")
    within = body("fs/nfs/dir.c", F, "+\t * memalloc_nofs_save() is called by all", "+\tgo();")
    assert decide(within).reason == "no rule concerns fs/nfs/dir.c"


def test_the_reason_names_the_first_rule_and_its_place() -> None:
    told = decide(
        body("fs/jfs/file.c", F, "+\tchar all[900];"),
        body("mm/vmscan.c", "static pageout_t pageout(struct folio *folio)", "+\tgo();"),
    )
    assert told.reason == (
        "reclaim: mm/vmscan.c:11 (pageout()): direct reclaim runs on whatever stack its caller left"
    )
    assert [(one.patch, one.rule, one.line) for one in told.matches] == [
        (1, "array on the stack", 11), (2, "body of a writepage", 11), (2, "reclaim", 11),
    ]  # fmt: skip
    assert told.profiles == ("deep-stack", "memcg", "writepage")
    assert told.filesystems == ("ext4",)


def test_many_files_are_not_all_named() -> None:
    told = decide(*(body(f"net/x{n}.c", F, "+\tgo();") for n in range(5)))
    assert told.reason == "no rule concerns net/x0.c, net/x1.c, net/x2.c and 2 more files"


def test_a_diff_that_cannot_be_read_counts_by_its_files() -> None:
    broken = body("mm/vmscan.c", F, "+\tgo();").replace("@@ -10,2 +10,3 @@", "@@ -10,9 +10,9 @@")
    told = decide(broken)
    assert (told.inside, told.matches[0].line, told.matches[0].file) == (True, 0, "mm/vmscan.c")
    bare = letter("[PATCH] p", "Why.\n---\n mm/x.c | 1 +\n 1 file changed\n", id="1")
    (one,) = assemble([parse(bare)])
    assert scope(one, load()).reason == "its diffs name no file"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[inside]]\nname = "abc"\nreason = "long enough"\n', "a rule has a path"),
        ('[[outside]]\nname = "abc"\nreason = "long enough"\n', "either tags, lists or paths"),
        (
            '[[inside]]\nname = "abc"\npath = "x"\nprofiles = ["none"]\nreason = "long enough"\n',
            "there is no stress profile none",
        ),
        ('[[inside]]\nname = "abc"\npath = "("\nreason = "long enough"\n', "no regular expression"),
        ("[[inside]\n", "Expected"),
        ('[[inside]]\nname = "abc"\npath = "x"\nreason = "long enough"\n' * 2, "two rules"),
    ],
)
def test_a_bad_policy_is_refused_with_its_file(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "scope.toml"
    if "outside" not in text:
        text = "outside = []\n" + text
    elif "inside" not in text:
        text += '[[inside]]\nname = "xyz"\npath = "x"\nreason = "long enough"\n'
    file.write_text(text)
    with pytest.raises(PolicyError, match=re.escape(problem)) as raised:
        load(file)
    assert str(file) in str(raised.value)


def test_the_verb_prints_lines_and_an_array(tmp_path: Path) -> None:
    taken = letter("[PATCH] mm: p", body("mm/vmscan.c", F, "+\tgo();"), id="y")
    left = letter("[PATCH] net: q", body("net/x.c", F, "+\tgo();"), id="n", minutes=1)
    (tmp_path / "box").write_bytes(mbox([taken, left]))
    shown = CliRunner().invoke(cli, ["scope", str(tmp_path / "box")]).output.splitlines()
    assert shown[0] == "yes  v1  mm: p"
    assert "     stress: memcg, writepage on ext4" in shown
    assert shown[-2:] == ["no   v1  net: q", "     no rule concerns net/x.c"]
    array = json.loads(CliRunner().invoke(cli, ["scope", str(tmp_path / "box"), "--json"]).output)
    assert [(one["id"], one["inside"]) for one in array] == [("y", True), ("n", False)]
    assert array[0]["matches"] == [
        {"patch": 1, "file": "mm/vmscan.c", "line": 11, "rule": "reclaim", "what": "f()"}
    ]
