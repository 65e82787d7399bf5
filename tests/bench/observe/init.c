// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /init of a guest that shows its stacks: puts memory and filesystems under pressure and
 * prints what ftrace's stack tracer saw to the second serial port, again and again.
 * Reboots in the end.
 *
 * The tracer keeps the deepest stack alone. Therefore it looks at one group of functions
 * after the other, and a function that was shown is taken out of its group: every stack of
 * a group ends in another function.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/loop.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/"
#define CGROUP "/sys/fs/cgroup/"
#define PAGE 4096
#define BLOCK (64 << 10)
#define WINDOW (15 * 1000)	/* microseconds that a stack is looked for */
#define AT_ONCE 40		/* functions that are taken out of a group, one by one */
#define NO_MORE "1000000"	/* bytes: no stack is deeper, so that none is recorded */

static const char *const groups[] = {
	"*", "submit_bio*", "ext4_*", "__alloc_pages*", "shrink_*", "virtio*", "virtblk*", "virtqueue*",
	"kmem_cache_*", "xfs_*", "jbd2_*", "fat_*", "vfat_*", "ext2_*", "*swap*", "shmem_*", "blk_*",
	"blk_mq_*", "try_to_*", "filemap_*", "*poll*", "*select*", "sched*", "vfs_*", "wb_*", "xas_*",
	"mempool_*", "folio_*", "*buffer*", "*fault*", "*work*", "*wake*", "*rmap*", "kmalloc*",
	"kfree*", "bio_*", "page_*", "*lock", "*_irq*", "*inode*", "*dentry*", "d_*", "*lru*", "*sb_*",
	"mem_cgroup_*", "*charge*", "dd_*", "elv_*", "loop_*", "iomap_*", "*writepage*", "*pte*",
	"unmap_*", "copy_*", "do_*", "__do_*", "*exec*", "*signal*", "*proc*", "seq_*", "kernfs_*",
	"*tty*", "*pipe*", "*splice*", "*readahead*", "*xattr*", "*acl*", "security_*", "*cred*", "up_*",
	"down_*", "mutex_*", "rcu_*", "call_rcu*", "queue_*", "mod_*", "*timer*", "hrtimer_*", "ktime_*",
	"*slab*", "get_*", "put_*", "__get*", "radix_*", "xa_*", "rb_*", "mas_*", "vma_*", "*mmap*",
	"*migrat*", "compact_*", "isolate_*", "balance_*", "percpu_*", "cgroup_*", "*rstat*", "*filename*",
	"path_*", "link_*", "may_*", "inode_*", "mark_*", "truncate_*", "invalidate_*", "*mount*", "*bdev*",
	"disk_*", "part_*", "sbitmap_*", "crc*", "string*", "vsnprintf", "*_nls*", "char2uni", "uni2char",
	"ksys_*", "__x64_sys_*", "*exit*", "*fork*", "*task*", "*futex*", "*file*", "*nlm*", "posix_*",
	"should_*", "might_*", "zone_*", "*vmstat*", "rmqueue*", "free_*", "*obj*", "*debug*", "[A-M]*",
	"a*", "b*", "c*", "e*", "f*", "g*", "h*", "i*", "l*", "m*", "n*", "p*", "r*", "s*", "t*", "u*", "v*",
	"w*", "x*", "_*",
};

/* Returns whether a file, opened with the flags, took the text. */
static int put(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags);
	int done = fd >= 0 && write(fd, text, strlen(text)) >= 0;

	if (fd >= 0)
		close(fd);
	return done;
}

static void must(int done, const char *what)
{
	if (!done)
		printf("init: %s: %s\n", what, strerror(errno));
}

/* What may fail, where it is the attempt that counts. */
static void try(long result)
{
	(void)result;
}

static void write_mapped(int fd, int value)
{
	char *map = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		return;
	for (int i = 0; i < 40; i++)
		map[i * PAGE] = value;
	if (value % 2)
		msync(map, 40 * PAGE, MS_SYNC);
	munmap(map, 40 * PAGE);
}

static void write_files(const char *top)
{
	static char block[BLOCK];
	char name[128];

	for (int round = 0;; round++) {
		int fd;

		snprintf(name, sizeof(name), "%s/f%d.%d", top, getpid(), round % 5);
		fd = open(name, O_RDWR | O_CREAT | (round % 2 ? O_TRUNC : 0), 0600);
		if (fd < 0)
			continue;
		if (round % 4 == 1)
			try(fallocate(fd, 0, 0, 30 * BLOCK));
		for (int i = 0; i < 60; i++) {
			memset(block, round + i, sizeof(block));
			if (i % 7 == 6)	/* holes and overwrites, so that blocks are allocated late */
				lseek(fd, 5 * (off_t)BLOCK, SEEK_CUR);
			if (write(fd, block, sizeof(block)) < 0)
				break;
		}
		if (round % 3 == 0)
			fsync(fd);
		try(ftruncate(fd, (round % 9 + 1) * 3 * BLOCK + round));
		write_mapped(fd, round);
		if (round % 6 == 2)
			try(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK, 3 * BLOCK));
		close(fd);
		if (round % 5 == 4)
			unlink(name);
	}
}

static void read_one(const char *name, int round)
{
	static char block[BLOCK] __attribute__((aligned(PAGE)));
	int fd = open(name, O_RDWR | (round % 3 == 2 ? O_DIRECT : 0));
	struct iovec pair[2] = {{block, 100}, {block + 100, PAGE}};
	int into = open("/tmp/copy", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; fd >= 0 && i < 20; i++) {
		try(pread(fd, block, 4 * PAGE, (i * 37 + round) % 200 * PAGE));
		if (round % 3 == 2)
			try(pwrite(fd, block, PAGE, (i * 13 + round) % 100 * PAGE));
		else
			try(preadv(fd, pair, 2, i * 3333));
	}
	try(sendfile(into, fd, NULL, 5 * PAGE));
	if (round % 4 == 0)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	close(into);
}

static void walk(const char *top, int round)
{
	DIR *directory = opendir(top);
	struct dirent *entry;
	char name[512];

	while (directory && (entry = readdir(directory))) {
		struct stat about;

		snprintf(name, sizeof(name), "%s/%s", top, entry->d_name);
		lstat(name, &about);
		if (S_ISREG(about.st_mode))
			read_one(name, round);
	}
	if (directory)
		closedir(directory);
}

static void read_files(const char *top)
{
	for (int round = 0;; round++) {
		struct statvfs about;

		walk(top, round);
		statvfs(top, &about);
		if (round % 5 == 4)
			put("/proc/sys/vm/drop_caches", "3", 0);
		if (round % 7 == 6)
			put("/proc/sys/vm/compact_memory", "1", 0);
		if (round % 11 == 10)
			sync();
	}
}

static void set_attributes(const char *name, int round)
{
	struct timeval times[2] = {{round, 0}, {round, 0}};
	static char value[900];
	int fd = open(name, O_RDWR | O_CREAT, 0600);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = round % 9, .l_len = 5};

	setxattr(name, "user.one", value, round % sizeof(value), 0);
	getxattr(name, "user.one", value, sizeof(value));
	setxattr(name, "trusted.two", value, 20, 0);
	listxattr(name, value, sizeof(value));
	removexattr(name, "user.one");
	utimes(name, times);
	chmod(name, 0600 + round % 8);
	try(chown(name, round, round));
	flock(fd, LOCK_EX);
	fcntl(fd, F_SETLK, &lock);
	close(fd);
}

static void make_directories(const char *top)
{
	char name[128], other[128], below[160];

	for (int round = 0;; round++) {
		snprintf(name, sizeof(name), "%s/d%d", top, round % 150);
		snprintf(other, sizeof(other), "%s/a-rather-long-name-of-a-directory-%d", top, round % 150);
		snprintf(below, sizeof(below), "%s/file", other);
		mkdir(name, 0700);
		rename(name, other);
		set_attributes(below, round);
		try(link(below, name));
		unlink(name);
		try(symlink("nowhere", name));
		try(access(name, R_OK));
		unlink(name);
		if (round % 3) {
			unlink(below);
			rmdir(other);
		}
	}
}

static void eat_memory(const char *megabytes)
{
	size_t bytes = (size_t)atoi(megabytes) << 20;
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned round = 0; memory != MAP_FAILED; round++) {
		for (size_t at = 0; at < bytes; at += PAGE)
			memory[at + round % PAGE] += round;
		if (round % 8 == 7)
			madvise(memory, bytes / 4, MADV_DONTNEED);
	}
}

/* Allocates and writes a file in a group that may have 8 MB, so that its charges reclaim. */
static void live_in_little(const char *top)
{
	char name[128];

	snprintf(name, sizeof(name), CGROUP "%s", top + 1);
	mkdir(name, 0755);
	snprintf(name, sizeof(name), CGROUP "%s/memory.max", top + 1);
	must(put(name, "8M", 0), name);
	snprintf(name, sizeof(name), CGROUP "%s/cgroup.procs", top + 1);
	must(put(name, "0", 0), name);
	if (!fork())
		eat_memory("10");
	write_files(top);
}

static void wait_for_many(const char *nothing)
{
	struct rlimit many = {4096, 4096};
	static struct pollfd fds[3000];
	struct epoll_event event = {.events = EPOLLIN};
	int pipes[2], watch = epoll_create1(0), bell = eventfd(0, EFD_NONBLOCK);

	(void)nothing;
	setrlimit(RLIMIT_NOFILE, &many);
	if (pipe(pipes))
		exit(1);
	epoll_ctl(watch, EPOLL_CTL_ADD, bell, &event);
	for (int i = 0; i < 3000; i++) {
		fds[i].fd = dup(pipes[0]);
		fds[i].events = POLLIN;
	}
	for (uint64_t one = 1;;) {
		fd_set set;
		struct timeval soon = {0, 500};

		FD_ZERO(&set);
		for (int i = 20; i < 1000; i++)
			FD_SET(i, &set);
		select(1000, &set, NULL, NULL, &soon);
		poll(fds, 3000, 1);
		try(write(bell, &one, sizeof(one)));
		epoll_wait(watch, &event, 1, 1);
		try(read(bell, &one, sizeof(one)));
		try(syscall(SYS_futex, &one, FUTEX_WAIT, 1, &(struct timespec){0, 1000}, NULL, 0));
	}
}

static void ignore(int signal)
{
	(void)signal;
}

static void change_maps(int round)
{
	char *map = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *moved;

	if (map == MAP_FAILED)
		return;
	for (int i = 0; i < 64; i++)
		map[i * PAGE] = round;
	mprotect(map + 8 * PAGE, 8 * PAGE, PROT_READ);
	mlock(map, 4 * PAGE);
	madvise(map + 32 * PAGE, 8 * PAGE, MADV_PAGEOUT);
	moved = mremap(map, 64 * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
	if (moved != MAP_FAILED)
		munmap(moved, 100 * PAGE);
}

static void start_processes(const char *nothing)
{
	struct itimerval often = {{0, 3000}, {0, 3000}};
	char page[PAGE] = "";
	int pipes[2];

	(void)nothing;
	signal(SIGALRM, ignore);
	signal(SIGUSR1, ignore);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int round = 0;; round++) {
		pid_t pid;

		if (pipe(pipes))
			continue;
		pid = fork();
		if (!pid) {
			change_maps(round);
			try(write(pipes[1], page, sizeof(page)));
			if (round % 2)
				execl("/init", "/init", "end", NULL);
			else if (round % 4 == 2)
				*(volatile char *)NULL = 1;
			_exit(0);
		}
		change_maps(round);
		close(pipes[1]);
		if (round % 3)
			while (read(pipes[0], page, sizeof(page)) > 0)
				kill(pid, SIGUSR1);
		close(pipes[0]);
		waitpid(pid, NULL, 0);
	}
}

static void read_about(const char *nothing)
{
	static const char *const names[] = {
		"/proc/self/maps", "/proc/self/smaps", "/proc/self/status", "/proc/self/stat",
		"/proc/self/mountinfo", "/proc/meminfo", "/proc/vmstat", "/proc/interrupts", "/proc/stat",
		"/proc/slabinfo", "/proc/zoneinfo", "/proc/diskstats", "/proc/swaps", "/proc/buddyinfo",
		"/proc/loadavg", "/proc/self/cmdline", "/proc/1/stack", "/proc/mounts", "/proc/self/limits",
		"/sys/block/vda/stat", "/sys/block/vda/inflight", "/sys/block/vda/queue/scheduler",
		"/sys/kernel/slab/dentry/slabs", CGROUP "memory.stat", CGROUP "cgroup.procs",
	};
	static char text[BLOCK];

	(void)nothing;
	for (unsigned round = 0;; round++) {
		int fd = open(names[round % (sizeof(names) / sizeof(*names))], O_RDONLY);

		while (fd >= 0 && read(fd, text, sizeof(text)) > 0)
			;
		if (fd >= 0)
			close(fd);
		if (round % 50 == 0 && !mount("tmpfs", "/mnt", "tmpfs", 0, NULL)) {
			write_mapped(open("/mnt/x", O_RDWR | O_CREAT, 0600), 1);
			umount2("/mnt", MNT_DETACH);
		}
		usleep(2000);
	}
}

/* Mounts a copy of a disk, which lies in a file of another filesystem, again and again. */
static void mount_in_a_file(const char *disk)
{
	static char block[BLOCK];
	int from = open(disk, O_RDONLY), loop = open("/dev/loop0", O_RDWR), file;
	ssize_t bytes;

	mkdir("/ext4/apart", 0700);	/* where nobody else writes */
	file = open("/ext4/apart/image", O_RDWR | O_CREAT, 0600);
	while ((bytes = read(from, block, sizeof(block))) > 0)
		try(write(file, block, bytes));
	must(!ioctl(loop, LOOP_SET_FD, file), "loop");
	mkdir("/loop", 0755);
	for (;;) {
		pid_t pid;

		if (mount("/dev/loop0", "/loop", "ext4", 0, NULL))
			must(0, "loop");
		pid = fork();
		if (!pid)
			write_files("/loop");
		sleep(3);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		umount2("/loop", 0);
	}
}

static void start(void (*work)(const char *), const char *what)
{
	if (fork())
		return;
	put("/proc/self/oom_score_adj", "100", 0);
	work(what);
	exit(0);
}

/* Reads the deepest stack; returns its length in bytes. */
static size_t stack(char *text, size_t size)
{
	size_t all = 0;
	ssize_t bytes;
	int fd;

	/* a stack of some pages is read in pieces, between which it must not change */
	put(TRACING "stack_max_size", NO_MORE, 0);
	fd = open(TRACING "stack_trace", O_RDONLY);
	while (fd >= 0 && (bytes = read(fd, text + all, size - 1 - all)) > 0)
		all += bytes;
	if (fd >= 0)
		close(fd);
	text[all] = 0;
	return all;
}

/* Shows stacks of a group's functions until none is left; returns how many. */
static int show(FILE *out, const char *group, int microseconds)
{
	static char text[64 << 10];
	int shown = 0;

	/* no stack is recorded while a filter changes: the old one would still do */
	put(TRACING "stack_max_size", NO_MORE, 0);
	if (!put(TRACING "stack_trace_filter", group, O_TRUNC))
		return 0;
	for (; shown < AT_ONCE; shown++) {
		char name[300] = "!", *first;

		put(TRACING "stack_max_size", "0", 0);
		usleep(microseconds);
		if (!stack(text, sizeof(text)))
			break;
		first = strstr(text, "  0)");
		if (!first || sscanf(first, " 0) %*d %*d %290[^+ \n]", name + 1) != 1)
			break;
		fputs(text, out);
		fflush(out);
		if (!put(TRACING "stack_trace_filter", name, O_APPEND))
			break;
	}
	return shown;
}

/* Mounts the disks that the kernel's command line tells in their order. */
static void use_disks(char *kinds)
{
	char disk[] = "/dev/vda", top[32];

	for (char *kind = strtok(kinds, ","); kind; kind = strtok(NULL, ","), disk[7]++) {
		if (!strcmp(kind, "swap")) {
			must(!swapon(disk, 0), "swap");
			continue;
		}
		if (!strcmp(kind, "loop")) {
			start(mount_in_a_file, strdup(disk));
			continue;
		}
		snprintf(top, sizeof(top), "/%s", kind);
		mkdir(top, 0755);
		must(!mount(disk, top, kind, 0, NULL), kind);
		start(write_files, strdup(top));
		start(live_in_little, strdup(top));
		start(read_files, strdup(top));
		start(make_directories, strdup(top));
	}
}

static void use_memory(void)
{
	start(write_files, "/tmp");
	start(make_directories, "/tmp");
	start(eat_memory, "40");
	start(wait_for_many, "");
	start(start_processes, "");
	start(read_about, "");
}

static void mount_system(void)
{
	static const char *const tops[][2] = {
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tracefs", TRACING},
		{"cgroup2", CGROUP}, {"tmpfs", "/tmp"},
	};

	mkdir("/mnt", 0755);
	for (size_t i = 0; i < sizeof(tops) / sizeof(*tops); i++) {
		mkdir(tops[i][1], 0755);
		must(!mount(tops[i][0], tops[i][1], tops[i][0], 0, NULL), tops[i][1]);
	}
	put(CGROUP "cgroup.subtree_control", "+memory", 0);
}

int main(int argc, char **argv)
{
	const char *wanted = getenv("dumps");
	int left = wanted ? atoi(wanted) : 1500;
	char *disks = getenv("disks");
	FILE *out;

	if (argc > 1 && !strcmp(argv[1], "end"))
		return 0;
	mount_system();
	out = fopen("/dev/ttyS1", "w");
	use_disks(disks ? strdup(disks) : strdup(""));
	use_memory();
	setpriority(PRIO_PROCESS, 0, -20);	/* the workload must not keep the show waiting */
	put("/proc/self/oom_score_adj", "-1000", 0);
	must(put(TRACING "stack_max_size", NO_MORE, 0), "stack tracer");
	must(put("/proc/sys/kernel/stack_tracer_enabled", "1", 0), "stack tracer");
	/* windows of other lengths show other stacks of the same functions */
	for (int round = 1; left > 0; round++)
		for (size_t i = 0; i < sizeof(groups) / sizeof(*groups) && left > 0; i++)
			left -= show(out, groups[i], WINDOW * round);
	fclose(out);
	printf("init: done\n");
	fflush(stdout);
	reboot(RB_AUTOBOOT);	/* -no-reboot: QEMU ends, with ACPI or without */
	return 0;
}
