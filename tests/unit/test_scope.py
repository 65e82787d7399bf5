from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.mail.message import parse
from bot.mail.series import Series, assemble
from bot.review.scope import DIFFS, Facts, Scope, facts, scope
from policies.scope import load
from tests.letters import letter


def patch(path: str, section: str, *changed: str) -> str:
    """Return a diff that changes lines; those without a sign are context."""
    lines = [line if line[:1] in {"+", "-", " "} else f" {line}" for line in changed]
    old = sum(line[0] != "+" for line in lines) + 2
    new = sum(line[0] != "-" for line in lines) + 2
    return (
        f"diff --git a/{path} b/{path}\nindex 1111111..2222222 100644\n--- a/{path}\n+++ b/{path}\n"
        f"@@ -10,{old} +10,{new} @@ {section}\n \tint here;\n"
        + "".join(f"{line}\n" for line in lines)
        + " \tint there;\n"
    )


def body(*diffs: str) -> str:
    """Return a patch mail's body."""
    return "Why.\n\nSigned-off-by: J <j@x>\n---\n x | 2 +-\n\n" + "".join(diffs) + "-- \n2.39.5\n"


def series(*bodies: str, subject: str = "PATCH", headers: str = "") -> Series:
    total = len(bodies)
    mails = [
        letter(
            f"[{subject} {n}/{total}] p", one, id=f"a-{n}", parents=["a-1"] if n > 1 else [],
            headers=headers,
        )
        for n, one in enumerate(bodies, 1)
    ]  # fmt: skip
    (found,) = assemble(map(parse, mails))
    return found


def decide(*diffs: str, subject: str = "PATCH", headers: str = "") -> Scope:
    """Return the scope of a series with one diff in each patch."""
    return scope(series(*map(body, diffs), subject=subject, headers=headers), load())


Change = tuple[str, ...]  # path, section, changed lines


@dataclass(frozen=True)
class Pair:
    """Changes that a rule takes, and near misses."""

    takes: tuple[Change, ...]
    misses: tuple[Change, ...]


F = "static int f(struct page *page)"
RULES = {
    "reclaim": Pair(
        (("mm/vmscan.c", F, "+\tgo();"), ("mm/shrinker.c", F, "-\tgo();")),
        (("mm/vmstat.c", F, "+\tgo();"), ("mm/vmscan.c", F, "+\t/* go(); */")),
    ),
    "compaction and OOM": Pair(
        (("mm/compaction.c", F, "+\tgo();"), ("mm/oom_kill.c", F, "+\tgo();")),
        (("mm/mmap.c", F, "+\tgo();"),),
    ),
    "memory cgroup": Pair(
        (("mm/memcontrol.c", "static int try_charge_memcg(void)", "+\tgo();"),),
        (
            ("mm/memcontrol.c", "void mem_cgroup_id_put(struct mem_cgroup *m)", "+\tgo();"),
            ("mm/memcontrol.c", "static int swap_max_show(struct seq_file *m)", "+\tgo();"),
        ),
    ),
    "writeback": Pair(
        (("mm/page-writeback.c", F, "+\tgo();"), ("fs/fs-writeback.c", F, "+\tgo();")),
        (("fs/namei.c", F, "+\tgo();"),),
    ),
    "buffer heads": Pair(
        (("fs/buffer.c", F, "+\tgo();"), ("fs/mpage.c", F, "+\tgo();")),
        (("fs/pipe.c", F, "+\tgo();"),),
    ),
    "iomap": Pair(
        (("fs/iomap/buffered-io.c", F, "+\tgo();"),), (("fs/iomap/fiemap.c", F, "+\tgo();"),)
    ),
    "swap": Pair(
        (
            ("mm/page_io.c", F, "+\tgo();"),
            ("mm/swap_state.c", F, "+\tgo();"),
            ("mm/shmem.c", F, "+\tgo();"),
        ),
        (("mm/swap.c", F, "+\tgo();"), ("mm/madvise.c", F, "+\tgo();")),
    ),
    "page lists": Pair((("mm/swap.c", F, "+\tgo();"),), (("mm/swapfile.c", F, "+\tgo();"),)),
    "allocator": Pair(
        (
            ("mm/page_alloc.c", "static void *__alloc_pages_slowpath(void)", "+\tgo();"),
            ("mm/page_alloc.c", "struct page *__alloc_pages(gfp_t gfp)", "+\tgo();"),
            ("mm/mempool.c", "void *mempool_alloc(mempool_t *pool, gfp_t gfp)", "+\tgo();"),
        ),
        (
            ("mm/page_alloc.c", "static void show_free_areas(void)", "+\tgo();"),
            ("mm/page_alloc.c", "static void __init setup_min_slab_ratio(void)", "+\tgo();"),
            ("mm/page_alloc.c", "static void free_pcppages_bulk(void)", "+\tgo();"),
        ),
    ),
    "unmapping": Pair(
        (("mm/rmap.c", "static bool try_to_unmap_one(struct folio *folio)", "+\tgo();"),),
        (("mm/rmap.c", "int anon_vma_fork(struct vm_area_struct *vma)", "+\tgo();"),),
    ),
    "page cache": Pair(
        (
            ("mm/filemap.c", "void folio_wait_writeback(struct folio *folio)", "+\tgo();"),
            ("mm/truncate.c", "static int folio_launder(struct folio *f)", "+\tgo();"),
        ),
        (("mm/filemap.c", "ssize_t filemap_read(struct kiocb *iocb)", "+\tgo();"),),
    ),
    "migration": Pair(
        (("mm/migrate.c", "int migrate_folio(struct folio *dst)", "+\tgo();"),),
        (("mm/migrate.c", "static int do_pages_stat(struct mm_struct *mm)", "+\tgo();"),),
    ),
    "address space operations": Pair(
        (
            ("fs/omfs/file.c", "const struct file x = {", "-\t.writepage = w,"),
            ("fs/omfs/file.c", "const struct file x = {", "+\t.writepages\t= w,"),
            ("fs/omfs/file.c", "const struct file x = {", "+\t.migrate_folio = m,"),
            ("fs/omfs/file.c", F, "+const struct address_space_operations a = {"),
            ("fs/omfs/file.c", F, "-\tinode->i_mapping->a_ops = &omfs_aops;"),
        ),
        (
            ("fs/omfs/file.c", "const struct file_operations x = {", "-\t.write_iter = w,"),
            ("fs/omfs/file.c", F, "+\tif (inode->i_mapping->a_ops == &omfs_aops)"),
            ("fs/omfs/file.c", F, "+\t/* .writepage = w, */"),
        ),
    ),
    "body of an operation": Pair(
        (
            ("fs/nfs/file.c", "static bool nfs_release_folio(struct folio *f)", "+\tgo();"),
            ("fs/afs/file.c", "int afs_launder_page(struct page *subpage)", "+\tgo();"),
        ),
        (("fs/nfs/file.c", "static int nfs_file_release(struct inode *i)", "+\tgo();"),),
    ),
    "writepage": Pair(
        (
            ("fs/jfs/file.c", F, "+\treturn mapping->a_ops->writepage(page, wbc);"),
            ("fs/jfs/file.c", F, "-\treturn mpage_writepages(mapping, wbc, get);"),
            ("fs/jfs/file.c", F, "-static int jfs_writepage(struct page *page)"),
            ("fs/jfs/file.c", F, "+\tret = write_cache_pages(mapping, wbc, w, NULL);"),
            ("fs/jfs/file.c", F, "+\tfolio_end_writeback(folio);"),
        ),
        (
            ("fs/jfs/file.c", F, '+\tpr_warn("->writepage(s) failed");'),
            ("fs/jfs/file.c", F, "+\twait_on_page_locked(page); // not ->writepage()"),
            ("security/keys/key.c", F, "+\tx->writepage(page);"),
        ),
    ),
    "body of a writepage": Pair(
        (
            ("fs/udf/inode.c", "static int udf_writepage(struct page *page)", "+\tgo();"),
            ("fs/ext4/inode.c", "int ext4_map_blocks(handle_t *handle)", "+\tgo();"),
            ("fs/xfs/x.c", "xfs_btree_split(struct xfs_btree_cur *cur)", "+\tgo();"),
        ),
        (
            ("fs/udf/inode.c", "static int udf_evict(struct inode *inode)", "+\tgo();"),
            ("fs/ext4/inode.c", "static int ext4_da_map_blocks(void)", "+\tgo();"),
        ),
    ),
    "condition about reclaim": Pair(
        (
            ("fs/xfs/a.c", F, "\tif (current->flags & PF_MEMALLOC)", "+\t\tgo();"),
            ("fs/xfs/a.c", F, "-\tif (wbc->for_reclaim)"),
        ),
        (
            ("fs/xfs/a.c", F, "\tif (current->flags & PF_KTHREAD)", "+\t\tgo();"),
            ("fs/xfs/a.c", F, "\t/* PF_MEMALLOC is set */", "+\t\tgo();"),
            ("fs/xfs/Makefile", F, "\tPF_MEMALLOC", "+\t\tgo();"),
        ),
    ),
    "allocation scope": Pair(
        (
            ("drivers/usb/a.c", F, "-\tp = get(n, GFP_NOFS);", "+\tp = get(n, GFP_KERNEL);"),
            ("fs/nfs/dir.c", F, "-\tp = get(n, GFP_KERNEL);", "+\tp = get(n, GFP_NOIO);"),
            ("fs/nfs/dir.c", F, "+\tflags = memalloc_nofs_save();"),
            ("net/core/a.c", F, "-\tif (gfp & __GFP_DIRECT_RECLAIM)"),
        ),
        (
            ("fs/nfs/dir.c", F, "-\tp = get(n, GFP_NOFS);", "+\tp = get(n + 1, GFP_NOFS);"),
            ("fs/nfs/dir.c", F, "+\tp = get(n, GFP_KERNEL);"),
            ("fs/nfs/dir.c", F, "+\t/* as memalloc_nofs_save() says */"),
        ),
    ),
    "reclaim from elsewhere": Pair(
        (("kernel/power/snapshot.c", F, "+\tshrink_all_memory(n);"),),
        (("kernel/power/snapshot.c", F, "+\tshrink_nothing(n);"),),
    ),
    "wait for memory": Pair(
        (("fs/ext4/inline.c", F, "+\tcongestion_wait(BLK_RW_ASYNC, HZ / 50);"),),
        (("fs/ext4/inline.c", F, "+\tcongestion_waited++;"),),
    ),
    "shrinker": Pair(
        (
            ("drivers/gpu/drm/x.c", F, "+\tshrinker_register(s);"),
            ("drivers/gpu/drm/x.c", F, "-\terr = register_shrinker(&s, n);"),
            ("fs/nfs/super.c", F, "+\ts->scan_objects = nfs_scan;"),
        ),
        (
            ("drivers/gpu/drm/x.c", F, "+\tpower_shrinker(s);"),
            ("fs/nfs/super.c", F, "+\tif (s->scan_objects == nfs_scan)"),
        ),
    ),
    "body of a shrinker": Pair(
        (
            ("fs/nfs/dir.c", "static unsigned long nfs_access_cache_scan(void)", "+\tgo();"),
            ("fs/super.c", "static unsigned long super_cache_count(void)", "+\tgo();"),
        ),
        (
            ("fs/nfs/dir.c", "static void nfs_access_cache_add(void)", "+\tgo();"),
            ("fs/quota/a.c", "static int dq_init_shrinker(void)", "+\tgo();"),
        ),
    ),
    "submission of I/O": Pair(
        (
            ("block/blk-core.c", "void submit_bio_noacct(struct bio *bio)", "+\tgo();"),
            ("drivers/md/dm.c", "static void __map_bio(struct bio *clone)", "+\tgo();"),
            ("drivers/md/dm-crypt.c", "static int crypt_map(void)", "+\tgo();"),
            ("drivers/block/loop.c", "static int lo_rw_aio(struct loop_device *l)", "+\tgo();"),
            ("drivers/md/raid5.c", "static void handle_stripe(void)", "+\tgo();"),
            ("drivers/block/virtio_blk.c", "static int virtio_queue_rq(void)", "+\tgo();"),
            ("drivers/scsi/scsi_lib.c", "static int scsi_queue_rq(void)", "+\tgo();"),
        ),
        (
            ("block/blk-core.c", "static int __init genhd_device_init(void)", "+\tgo();"),
            ("block/blk-core.c", "const char *blk_op_str(enum req_op op)", "+\tgo();"),
            ("block/mq-deadline.c", "int deadline_dispatch_show(void)", "+\tgo();"),
            ("drivers/md/md.c", "static int md_submit_exit(void)", "+\tgo();"),
            ("net/core/dev.c", "static int __dev_queue_xmit(void)", "+\tgo();"),
            ("drivers/md/dm-crypt.c", "static int crypt_ctr(struct x *t)", "+\tgo();"),
            ("drivers/block/virtio_blk.c", "static int virtblk_probe(void)", "+\tgo();"),
        ),
    ),
    "stack": Pair(
        (
            ("arch/arm64/kernel/x.c", F, "+static noinline_for_stack void g(void)"),
            ("arch/riscv/include/asm/thread_info.h", "", "+#define THREAD_SIZE_ORDER 3"),
            ("fs/Makefile", "", "+CFLAGS_x.o += -Wframe-larger-than=4096"),
        ),
        (("arch/arm64/kernel/x.c", F, "+static noinline void g(void)"),),
    ),
    "limit of a frame": Pair(
        (("lib/Kconfig.debug", "config FRAME_WARN", "-\tdefault 1024", "+\tdefault 2048"),),
        (
            ("lib/Kconfig.debug", "config FRAME_POINTER", "-\tdefault y"),
            ("lib/x.config", "config FRAME_WARN", "-\tdefault 1024"),
        ),
    ),
    "entry and interrupts": Pair(
        (("arch/x86/entry/entry_64.S", "SYM_CODE_START(x)", "+\tpushq %rax"),),
        (("arch/x86/kernel/apic/apic.c", F, "+\tgo();"),),
    ),
    "array on the stack": Pair(
        (
            ("fs/proc/base.c", F, "+\tchar buf[512];"),
            ("mm/gup.c", F, "+\tstruct page *pages[64];"),
            ("block/ioctl.c", F, "+\tunsigned char name[BDEVNAME_SIZE] = {};"),
            ("fs/proc/base.c", F, "+\tu64 a, b[4 * 8];"),
            ("lib/x.c", F, "+\tlong m[4 + N][2];"),
        ),
        (
            ("fs/proc/base.c", F, "+\tchar buf[16];"),
            ("fs/proc/base.c", F, "+\tint pair[2];"),
            ("fs/proc/base.c", F, "+\tbuf[512] = 0;"),
            ("fs/proc/base.c", F, "+\treturn names[INDEX];"),
            ("fs/proc/base.c", F, "+\tstatic char buf[512];"),
            ("fs/proc/base.c", F, "-\tchar buf[512];"),
            ("fs/proc/base.c", "struct pid_entry {", "+\tchar name[512];"),
            ("fs/proc/base.c", F, "}", " ", "struct entry {", "+\tchar name[512];"),
            ("fs/proc/base.c", "static int x_show(void)", "+\tchar buf[512];"),
            ("drivers/gpu/drm/x.c", F, "+\tchar buf[512];"),
        ),
    ),
    "filesystem": Pair(
        (
            ("fs/xfs/xfs_buf.c", F, "+\tp = kmalloc(n, flags);"),
            ("fs/ext4/mballoc.c", F, "-\treturn submit_bio_wait(bio);"),
        ),
        (
            ("fs/proc/base.c", F, "+\tp = kmalloc(n, flags);"),
            ("fs/ext4/super.c", "static int ext4_fill_super(void)", "+\tp = kmalloc(n, f);"),
            ("fs/ext4/inode.c", F, "-\t\tbh = sb_getblk(sb, n);", "+\tbh = sb_getblk(sb, n);"),
        ),
    ),
}


@pytest.mark.parametrize("name", [rule.name for rule in load().inside])
def test_a_rule_takes_what_it_is_for_and_not_its_neighbour(name: str) -> None:
    pair = RULES[name]
    assert pair.misses
    for change in pair.takes:
        taken = decide(patch(*change))
        assert taken.inside, change
        assert name in {match.rule for match in taken.matches}, change
    for change in pair.misses:
        assert name not in {match.rule for match in decide(patch(*change)).matches}, change


@dataclass(frozen=True)
class Sent:
    """A series by what it touches, its label and its headers."""

    paths: tuple[str, ...]
    subject: str = "PATCH"
    headers: str = ""

    @property
    def decided(self) -> Scope:
        diffs = [patch(path, F, "+\tflags = memalloc_nofs_save();") for path in self.paths]
        return decide(*diffs, subject=self.subject, headers=self.headers)


LEFT = {
    "other project": (
        Sent(("mm/vmscan.c",), "PATCH e2fsprogs"), Sent(("mm/vmscan.c",), "PATCH mm-new"),
    ),
    "stable kernels": (Sent(("mm/vmscan.c",), "PATCH 5.10.y"), Sent(("mm/vmscan.c",), "PATCH RFC")),
    "other tree": (
        Sent(("net/core/sock.c", "include/net/sock.h"), "PATCH net-next"),
        Sent(("net/core/sock.c", "mm/page_frag_cache.c"), "PATCH net-next"),
    ),
    "list of another project": (
        Sent(("mm/vmscan.c",), headers="To: fstests@vger.kernel.org\n"),
        Sent(("mm/vmscan.c",), headers="To: a@b.org\nCc: fstests@vger.kernel.org\n"),
    ),
    "user space": (
        Sent(("tests/generic/700", "common/rc", "e2fsck/unix.c", "lib/ext2fs/x.c", "configure.ac")),
        Sent(("tests/generic/700", "mm/vmscan.c")),
    ),
    "no code": (
        Sent(("Documentation/mm/x.rst", "tools/testing/selftests/mm/x.c", "MAINTAINERS")),
        Sent(("Documentation/mm/x.rst", "mm/vmscan.c")),
    ),
    "tests of the kernel": (
        Sent(("lib/test_xarray.c", "mm/slub_kunit.c", "fs/ext4/mballoc-test.c", "tools/x.c")),
        Sent(("lib/test_xarray.c", "lib/xarray.c")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [rule.name for rule in load().outside])
def test_a_rule_leaves_alone_what_it_is_for_and_not_its_neighbour(name: str) -> None:
    alone, looked_at = LEFT[name]
    assert alone.decided.reason.startswith(f"{name}: ")
    assert not alone.decided.inside
    assert looked_at.decided.inside, looked_at.decided.reason


def test_comments_and_white_space_are_no_change() -> None:
    nothing = "only comments and white space change"
    for lines in (
        ("-\t/* GFP_NOFS */", "+\t/* GFP_KERNEL */", "+"),
        ("-\tgo(a, b);", "+\tgo(a,", "+\t   b);"),
        ("+\t * GFP_NOFS within a comment",),
    ):
        assert decide(patch("mm/vmscan.c", F, *lines)).reason == nothing
    assert decide(patch("mm/vmscan.c", F, '-\tpr_info("a");', '+\tpr_info("b");')).inside
    real = patch("net/x.c", F, "+\tgo();")
    told = decide(patch("mm/vmscan.c", F, "-\tgo( );", "+\tgo();"), real)
    assert told.reason == "no rule concerns mm/vmscan.c, net/x.c"


def test_a_file_that_is_only_renamed_is_no_change() -> None:
    renamed = (
        "diff --git a/mm/vmscan.c b/mm/reclaim.c\nsimilarity index 100%\n"
        "rename from mm/vmscan.c\nrename to mm/reclaim.c\n"
    )
    assert decide(renamed).reason == "no line changes in mm/vmscan.c"


def test_a_removed_function_is_not_its_neighbour() -> None:
    told = decide(
        patch(
            "fs/fat/inode.c", "static int fat_get_block(struct inode *inode)",
            "}", " ", "-static int fat_writepage(struct page *page)", "-{", "-\treturn go();", "-}",
            "-", "static int fat_read(struct page *page)",
        )
    )  # fmt: skip
    assert {(one.rule, one.what) for one in told.matches} == {
        ("body of a writepage", "fat_writepage()"), ("writepage", "fat_writepage"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "functions"),
    [
        (("+\tgo();",), {"udf_read"}),
        (("}", "+EXPORT_SYMBOL(udf_go);"), set()),
        (("static struct table table = {", "+\tgo,"), set()),
        (("static int udf_go(void)", "{", "+\tgo();"), {"udf_go"}),
    ],
)
def test_a_changed_line_is_in_the_function_around_it(
    lines: tuple[str, ...], functions: set[str]
) -> None:
    change = patch("fs/udf/inode.c", "static int udf_read(struct page *page)", *lines)
    (told,) = facts(series(body(change)))
    assert {name for _, name in told.functions} == functions


def test_what_is_added_is_not_in_a_function_that_is_removed() -> None:
    # git shows what lies between two ends that are alike as removed
    lines = ("-\treturn 0;", "-}", "-", "-static int udf_go(void)", "-{", "\tstay();")
    added = "+\tp = kmalloc(n, flags);"
    assert not decide(patch("fs/udf/x.c", "static int udf_init(void)", *lines, added)).inside
    assert decide(patch("fs/udf/x.c", "static int udf_read(void)", *lines, added)).inside


def test_notes_of_sparse_are_no_functions() -> None:
    told = decide(
        patch("fs/ext4/mballoc.c", "__releases(bitlock)", "+\tgo();"),
        patch("fs/ext4/mballoc.c", "int ext4_trim(void)", "__acquires(bitlock)", "{", "+\tgo();"),
    )
    assert told.reason == "no rule concerns ext4_trim() in fs/ext4/mballoc.c"


def test_the_reason_names_the_first_rule_and_its_place() -> None:
    told = decide(
        patch("fs/jfs/file.c", F, "+\tchar all[900];"),
        patch("mm/vmscan.c", "static pageout_t pageout(struct folio *folio)", "+\tgo();"),
    )
    assert told.reason == (
        "reclaim: mm/vmscan.c:11 (pageout()): direct reclaim runs on whatever stack its caller left"
    )
    assert [(one.patch, one.rule, one.line) for one in told.matches] == [
        (1, "array on the stack", 11), (2, "body of a writepage", 11), (2, "reclaim", 11),
    ]  # fmt: skip
    assert told.profiles == ("deep-stack", "efficiency", "memcg", "writepage")
    assert told.filesystems == ("ext4",)


@pytest.mark.parametrize(
    ("path", "filesystems"),
    [
        ("include/linux/iomap.h", ("ext4", "xfs")),
        ("include/linux/buffer_head.h", ("ext2", "ext4")),
        ("arch/Kconfig", ("ext4",)),
        ("arch/arm64/mm/x.c", ("ext4",)),
        ("fs/fat/inode.c", ("ext4", "vfat")),
        ("fs/jfs/inode.c", ("ext4",)),
    ],
)
def test_a_rule_adds_its_filesystems_to_those_of_the_files(
    path: str, filesystems: tuple[str, ...]
) -> None:
    assert decide(patch(path, "config VMAP_STACK", "+#ifdef CONFIG_VMAP_STACK")).filesystems == (
        filesystems
    )
    if path.endswith("Kconfig"):
        assert decide(patch(path, "config VMAP_STACK", "+\tdefault n")).filesystems == filesystems


def test_what_is_said_in_documents_does_not_take_the_code_beside_it() -> None:
    words = patch("Documentation/x.rst", "", "+Call memalloc_nofs_save() before.")
    told = decide(words, patch("net/x.c", F, "+\tgo();"))
    assert told.reason == "no rule concerns Documentation/x.rst, net/x.c"


def test_the_same_thing_is_said_once_for_a_file() -> None:
    twice = patch("mm/vmscan.c", F, "+\tgo();", "\tstay();", "+\tgo();")
    assert len(decide(twice).matches) == 1


def test_many_files_and_functions_are_not_all_named() -> None:
    told = decide(*(patch(f"net/x{n}.c", F, "+\tgo();") for n in range(5)))
    assert told.reason == "no rule concerns net/x0.c, net/x1.c, net/x2.c and 2 more files"
    told = decide(*(patch("net/x.c", f"int f{n}(void)", "+\tgo();") for n in range(4)))
    assert told.reason == "no rule concerns f0(), f1(), f2() and 1 more function in net/x.c"


def test_a_diff_that_cannot_be_read_counts_by_its_files() -> None:
    broken = patch("mm/vmscan.c", F, "+\tgo();").replace("@@ -10,2 +10,3 @@", "@@ -10,9 +10,9 @@")
    told = decide(broken)
    assert [(one.rule, one.file, one.line) for one in told.matches] == [
        ("reclaim", "mm/vmscan.c", 0)
    ]
    told = decide(broken.replace("mm/vmscan.c", "mm/gup.c"))
    assert told.reason == "no rule concerns mm/gup.c, of which not all diffs can be read"
    bare = letter("[PATCH] p", "Why.\n---\n mm/x.c | 1 +\n 1 file changed\n", id="1")
    (one,) = assemble([parse(bare)])
    assert scope(one, load()).reason == "its diffs name no file"


def test_a_line_that_looks_like_a_header_names_no_file() -> None:
    told = decide(patch("Documentation/howto.rst", "", "+++ b/mm/vmscan.c", "--- a/mm/vmscan.c"))
    assert told.reason.startswith("no code: Documentation/howto.rst: ")


def test_a_diff_beyond_the_limit_is_not_read() -> None:
    long = "+" + "x" * 70 + "\n"
    count = DIFFS // len(long) + 1
    change = patch("net/x.c", F, "+\tgo();").replace("+\tgo();\n", long * count)
    change = change.replace("+10,3 @@", f"+10,{count + 2} @@")
    (first, second) = facts(series(body(patch("mm/vmscan.c", F, "+\tgo();")), body(change)))
    assert (first.read, second.read, second.files, second.added) == (True, False, ("net/x.c",), 0)


def test_facts_are_those_of_each_patch() -> None:
    changed = patch("mm/vmscan.c", F, "+\tgo();", "-\tstay();", "+\t/* why */")
    assert facts(series(body(changed), body(patch("MAINTAINERS", "", "+M:\tJ <j@x>")))) == (
        Facts(1, ("mm/vmscan.c",), (("mm/vmscan.c", "f"),), added=2, removed=1, read=True),
        Facts(2, ("MAINTAINERS",), (), added=1, removed=0, read=True),
    )


def test_what_is_told_is_printable() -> None:
    told = decide(patch("fs/a\x1b[31m.c", F, "+\tflags = memalloc_nofs_save();"))
    assert told.matches
    assert told.matches[0].file.isprintable()
    assert told.reason.isprintable()


def test_the_order_of_files_and_hunks_does_not_matter_for_the_decision() -> None:
    changes = [patch(*change) for pair in RULES.values() for change in pair.takes[:1]]
    wanted = decide("".join(changes))
    for start in range(0, len(changes), 7):
        moved = [*changes[start:], *changes[:start]]
        assert decide("".join(moved)) == wanted
        assert decide("".join(reversed(moved))) == wanted


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(
            st.sampled_from('+-@ ab\t"\\/*{}()[];,.=\r\x00\x1b\x85\u2028é')
            | st.characters(exclude_categories=["Cs"]),
            max_size=40,
        ),
        max_size=12,
    )
)
def test_no_diff_makes_it_fail(lines: list[str]) -> None:
    diff = patch("mm/vmscan.c", F, "+\tgo();") + "".join(f"{line}\n" for line in lines)
    told = scope(series(body(diff)), load())
    assert told.reason.isprintable()
