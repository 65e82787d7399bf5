// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * /init of a guest that shows its stacks: puts memory and filesystems under pressure and
 * prints what ftrace's stack tracer saw to the second serial port, again and again, each
 * time for another function. Reboots in the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/"
#define PAGE 4096

static const char *const filters[] = {
	"*", "submit_bio", "ext4_writepages", "__alloc_pages", "shrink_folio_list", "virtio_queue_rq",
	"kmem_cache_alloc", "ext4_map_blocks", "jbd2_*", "fat_*", "ext2_*", "swap_writepage",
	"shmem_writepage", "blk_mq_*", "try_to_free_pages", "shrink_*", "ext4_*", "filemap_*",
	"do_sys_poll", "core_sys_select", "schedule", "vfs_*", "wb_*", "xas_*", "mempool_*",
	"folio_*", "mark_buffer_dirty", "__getblk_gfp", "do_swap_page", "handle_mm_fault",
	"queue_work_on", "__wake_up", "memcpy*", "kmalloc*", "kfree", "bio_*", "page_vma_*",
};

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("init: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void write_files(const char *top, int number)
{
	static char block[64 << 10];
	char name[128];

	for (int round = 0;; round++) {
		int fd;

		snprintf(name, sizeof(name), "%s/f%d.%d", top, number, round % 5);
		fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
		for (int i = 0; fd >= 0 && i < 60; i++) {
			memset(block, round + i, sizeof(block));
			if (i % 7 == 6)	/* holes and overwrites, so that blocks are allocated late */
				lseek(fd, 5 * (off_t)sizeof(block), SEEK_CUR);
			if (write(fd, block, sizeof(block)) < 0)
				break;
		}
		if (fd >= 0 && round % 3 == 0)
			fsync(fd);
		if (fd >= 0) {
			char *map = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

			for (int i = 0; map != MAP_FAILED && i < 40; i++)
				map[i * PAGE] = round;
			if (map != MAP_FAILED)
				munmap(map, 40 * PAGE);
			close(fd);
		}
		if (round % 5 == 4)
			unlink(name);
	}
}

static void make_directories(const char *top)
{
	char name[128], other[128];

	for (int round = 0;; round++) {
		snprintf(name, sizeof(name), "%s/d%d", top, round % 50);
		snprintf(other, sizeof(other), "%s/e%d", top, round % 50);
		mkdir(name, 0700);
		rename(name, other);
		rmdir(other);
		symlink("nowhere", name);
		unlink(name);
	}
}

static void eat_memory(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (unsigned round = 0; memory != MAP_FAILED; round++)
		for (size_t at = 0; at < bytes; at += PAGE)
			memory[at + round % PAGE] += round;
}

static void select_and_poll(void)
{
	struct rlimit many = {4096, 4096};
	static struct pollfd fds[3000];
	int pipes[2];

	setrlimit(RLIMIT_NOFILE, &many);
	if (pipe(pipes))
		exit(1);
	for (int i = 0; i < 3000; i++) {
		fds[i].fd = dup(pipes[0]);
		fds[i].events = POLLIN;
	}
	for (;;) {
		fd_set set;
		struct timeval soon = {0, 500};

		FD_ZERO(&set);
		for (int i = 20; i < 1000; i++)
			FD_SET(i, &set);
		select(1000, &set, NULL, NULL, &soon);
		poll(fds, 3000, 1);
	}
}

static pid_t start(void (*work)(const char *), const char *what)
{
	pid_t pid = fork();

	if (!pid) {
		work(what);
		exit(0);
	}
	return pid;
}

static void writer(const char *top) { write_files(top, getpid()); }
static void eater(const char *megabytes) { eat_memory((size_t)atoi(megabytes) << 20); }
static void selecter(const char *nothing) { (void)nothing; select_and_poll(); }

static void show(int out, const char *filter)
{
	static char text[64 << 10];
	ssize_t bytes, all = 0;
	int fd;

	put(TRACING "stack_trace_filter", filter);
	put(TRACING "stack_max_size", "0");
	usleep(60 * 1000);
	fd = open(TRACING "stack_trace", O_RDONLY);
	while (fd >= 0 && (bytes = read(fd, text + all, sizeof(text) - 1 - all)) > 0)
		all += bytes;
	if (fd >= 0)
		close(fd);
	for (ssize_t done = 0; done < all;) {
		bytes = write(out, text + done, all - done);
		if (bytes <= 0)
			return;
		done += bytes;
	}
}

int main(void)
{
	static const char *const disks[][3] = {
		{"/dev/vda", "/a", "ext4"}, {"/dev/vdb", "/b", "ext2"}, {"/dev/vdc", "/c", "vfat"},
	};
	int rounds = 1200, out;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("tracefs", TRACING, "tracefs", 0, NULL);
	mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
	out = open("/dev/ttyS1", O_WRONLY);
	if (swapon("/dev/vdd", 0))
		printf("init: swap: %s\n", strerror(errno));
	for (size_t i = 0; i < sizeof(disks) / sizeof(*disks); i++) {
		mkdir(disks[i][1], 0755);
		if (mount(disks[i][0], disks[i][1], disks[i][2], 0, NULL))
			printf("init: %s: %s\n", disks[i][0], strerror(errno));
		start(writer, disks[i][1]);
		start(writer, disks[i][1]);
		start(make_directories, disks[i][1]);
	}
	start(writer, "/tmp");
	start(eater, "50");
	start(selecter, "");
	setpriority(PRIO_PROCESS, 0, -20);	/* the workload must not keep the show waiting */
	put("/proc/sys/kernel/stack_tracer_enabled", "1");
	for (int i = 0; i < rounds; i++)
		show(out, filters[i % (sizeof(filters) / sizeof(*filters))]);
	printf("init: done\n");
	sync();
	reboot(RB_AUTOBOOT);	/* -no-reboot: QEMU ends, with ACPI or without */
	return 0;
}
