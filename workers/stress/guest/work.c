// SPDX-License-Identifier: GPL-2.0-or-later
/* The workload: processes that dirty, read and allocate until the finite ones are done. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_AT_ONCE 64		/* pages */
#define MOST_MISSES 1000	/* files in a row that cannot be made */
#define MOST_TIMES 4		/* the operations asked for are done, until it is enough */
#define ASK_MS 300

struct worker {
	struct work *work;
	int number;		/* among the processes of its work */
	pid_t pid;
	int done;
	volatile long operations;	/* shared with the process */
	volatile long errors;
};

static struct worker *workers;
static volatile int *enough;	/* shared: what must have happened has happened */
static int worker_count;
static uint64_t dice;

static uint32_t roll(void)	/* xorshift64*, by Sebastiano Vigna, public domain */
{
	dice ^= dice >> 12;
	dice ^= dice << 25;
	dice ^= dice >> 27;
	return (dice * 0x2545f4914f6cdd1d) >> 32;
}

static const struct disk *disk_of(const struct work *work)
{
	return job.disks + atoi(work->where);
}

static int open_data(const struct work *work, int flags)
{
	char path[2 * NAME];

	snprintf(path, sizeof(path), "%s/data", disk_of(work)->top);
	return open(path, flags);
}

static long pages_of(const struct work *work)
{
	return disk_of(work)->megabytes << 20 >> 12;
}

/* Whether there is something left to do; counts the operation that comes. */
static int next(struct worker *me)
{
	long quota = (me->work->operations + me->work->processes - 1) / me->work->processes;

	if (!quota)
		return 1;
	return me->operations < quota || (!*enough && me->operations < MOST_TIMES * quota);
}

/* Overwrites pages of its own at random, by write(2) and, `size` of a hundred, by mapping. */
static void overwrite(struct worker *me)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	struct work *work = me->work;
	uint32_t *generation = generations[atoi(work->where)];
	long own = pages_of(work) / work->processes;
	int fd = open_data(work, O_RDWR);
	char *map = mmap(NULL, pages_of(work) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	while (fd >= 0 && map != MAP_FAILED && next(me)) {
		long at = roll() % own * work->processes + me->number;
		uint32_t old = generation[at];

		/* a page that the disk refuses cannot be read to be mapped, and is never looked at */
		pattern(page, atoi(work->where), at, old + 1);
		generation[at] = UNKNOWN;	/* whoever is killed now leaves half of a page */
		if (old != UNKNOWN && roll() % 100 < work->size)
			memcpy(map + at * PAGE, page, PAGE);
		else if (pwrite(fd, page, PAGE, at * (off_t)PAGE) != PAGE)
			me->errors++;
		generation[at] = old == UNKNOWN ? old : old + 1;
		me->operations++;
	}
}

/* Allocates, touches and frees `size` megabytes. */
static void churn(struct worker *me)
{
	size_t bytes = (size_t)me->work->size << 20;

	while (next(me)) {
		char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (size_t at = 0; memory != MAP_FAILED && at < bytes; at += PAGE)
			memory[at] = at;
		if (memory != MAP_FAILED)
			munmap(memory, bytes);
		me->operations++;
	}
}

/* Keeps `size` megabytes, writes to pages of it at random and looks whether they came back. */
static void anonymous(struct worker *me)
{
	long pages = me->work->size << 8;
	uint32_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	while (memory != MAP_FAILED && next(me)) {
		long at = roll() % pages;
		uint32_t *page = memory + at * (PAGE / sizeof(uint32_t));

		if (page[0] != page[1023] || (page[0] && page[1] != (uint32_t)at))
			me->errors++;
		page[1] = at;
		page[0]++;
		page[1023]++;
		me->operations++;
	}
}

/* Reads the file from one end to the other, again and again; each process from its own place. */
static void read_clean(struct worker *me)
{
	static char block[LOOK_AT_ONCE * PAGE];
	long pages = pages_of(me->work), at = pages / me->work->processes * me->number;
	int fd = open_data(me->work, O_RDONLY);

	while (fd >= 0 && next(me)) {
		at = at + LOOK_AT_ONCE > pages ? 0 : at;
		if (pread(fd, block, sizeof(block), at * PAGE) != sizeof(block))
			me->errors++;
		else if (pattern_generation(block, atoi(me->work->where), at))
			me->errors++;
		at += LOOK_AT_ONCE;
		me->operations++;
	}
}

/* Waits for `size` descriptors at once: each call allocates pages for what it waits on. */
static void wait_for_many(struct worker *me)
{
	int many = me->work->size, pipes[2];
	struct rlimit most = {many + 64, many + 64};
	struct pollfd *fds = calloc(many, sizeof(*fds));
	size_t bytes = (many + 64 + 1023) / 1024 * 1024 / 8;
	unsigned char *sets = calloc(2, bytes);

	setrlimit(RLIMIT_NOFILE, &most);
	if (!fds || !sets || pipe(pipes))
		_exit(1);
	for (int i = 0; i < many; i++) {
		fds[i].fd = dup(pipes[0]);
		fds[i].events = POLLIN;
		if (fds[i].fd >= 0)
			sets[bytes + fds[i].fd / 8] |= 1 << fds[i].fd % 8;
	}
	while (next(me)) {
		struct timeval soon = {0, 500};

		memcpy(sets, sets + bytes, bytes);
		select(fds[many - 1].fd + 1, (fd_set *)sets, NULL, NULL, &soon);
		poll(fds, many, 1);
		me->operations++;
	}
}

/* Makes, writes, renames and deletes small files. */
static void small_files(struct worker *me)
{
	static char block[3 * PAGE];
	char name[2 * NAME], other[2 * NAME + 8];
	int misses = 0;

	for (long round = 0; next(me) && misses < MOST_MISSES; round++) {
		int fd;

		snprintf(name, sizeof(name), "%s/f%d.%ld", disk_of(me->work)->top, me->number, round % 200);
		snprintf(other, sizeof(other), "%s.new", name);
		fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
		misses = fd < 0 ? misses + 1 : 0;
		if (fd >= 0 && write(fd, block, 1 + roll() % sizeof(block)) < 0)
			me->errors += errno != ENOSPC;
		close(fd);
		rename(other, name);
		if (round % 3 == 0)
			unlink(name);
		me->operations++;
	}
}

static void rest(int signal)
{
	(void)signal;
	for (;;)
		pause();
}

/* Fills the disk, then writes through a mapping where there are no blocks. */
static void into_holes(struct worker *me)
{
	static char block[64 * PAGE];
	size_t bytes = (size_t)me->work->size << 20;
	char name[2 * NAME];
	char *map;
	int fd;

	signal(SIGBUS, rest);	/* a filesystem that allocates early says so */
	snprintf(name, sizeof(name), "%s/full", disk_of(me->work)->top);
	fd = open(name, O_WRONLY | O_CREAT, 0600);
	while (write(fd, block, sizeof(block)) > 0)
		me->operations++;
	fsync(fd);
	close(fd);
	snprintf(name, sizeof(name), "%s/holes%d", disk_of(me->work)->top, me->number);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	if (ftruncate(fd, bytes))
		rest(0);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	while (map != MAP_FAILED && next(me)) {
		map[roll() % (bytes / PAGE) * PAGE] = me->operations;
		me->operations++;
	}
}

/* Has the file written out now and then, as programs do. */
static void flush(struct worker *me)
{
	int fd = open_data(me->work, O_RDWR);

	while (next(me)) {
		usleep(me->work->size * 1000);
		if (fdatasync(fd))
			me->errors++;
		me->operations++;
	}
}

static const struct {
	const char *name;
	void (*run)(struct worker *me);
} kinds[] = {
	{"overwrite", overwrite}, {"churn", churn}, {"anonymous", anonymous}, {"read", read_clean},
	{"select", wait_for_many}, {"files", small_files}, {"holes", into_holes}, {"flush", flush},
};

static void start(struct worker *me)
{
	pid_t pid = fork();

	if (pid) {	/* not in the child: the memory is shared */
		me->pid = pid;
		return;
	}
	put("/proc/self/oom_score_adj", me->work->operations ? "0" : "500");
	if (job.memcg)
		put(CGROUP "work/cgroup.procs", "0");
	dice = 0x9e3779b97f4a7c15 * (job.seed + 1000 * (me - workers) + 1);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kinds[i].name, me->work->kind))
			kinds[i].run(me);
	_exit(0);
}

static void group(void)
{
	char bytes[32];

	if (!job.memcg)
		return;
	mkdir(CGROUP "work", 0755);
	snprintf(bytes, sizeof(bytes), "%ld", job.memcg);
	if (!put(CGROUP "work/memory.max", bytes))
		problem("memory.max");
}

static void start_all(void)
{
	group();
	workers = mmap(NULL, sizeof(*workers) * MAX_WORKERS, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	enough = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*enough = !job.until;
	for (int i = 0; i < job.work_count; i++)
		for (int n = 0; n < job.works[i].processes && worker_count < MAX_WORKERS; n++) {
			struct worker *me = workers + worker_count++;

			me->work = job.works + i;
			me->number = n;
			start(me);
		}
}

/* Notes who ended; whoever goes on for ever is started again. Returns how many are to finish. */
static int reap(void)
{
	int status, left = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < worker_count; i++) {
			struct worker *one = workers + i;

			if (one->pid != pid)
				continue;
			if (WIFSIGNALED(status))
				record("killed", "%s %d", one->work->kind, WTERMSIG(status));
			one->done = one->work->operations != 0;
			if (!one->done)
				start(one);
		}
	}
	for (int i = 0; i < worker_count; i++)
		left += workers[i].work->operations && !workers[i].done;
	return left;
}

static long finished(void)
{
	long all = 0;

	for (int i = 0; i < worker_count; i++)
		all += workers[i].work->operations ? workers[i].operations : 0;
	return all;
}

static void kill_all(void)
{
	for (int i = 0; i < worker_count; i++)
		if (!workers[i].done) {
			kill(workers[i].pid, SIGKILL);
			waitpid(workers[i].pid, NULL, 0);
		}
}

static void tell(const char *name)
{
	for (int i = 0; i < job.work_count; i++) {
		long operations = 0, errors = 0;

		for (int n = 0; n < worker_count; n++)
			if (workers[n].work == job.works + i) {
				operations += workers[n].operations;
				errors += workers[n].errors;
			}
		record(name, "%d %s %ld %ld", i, job.works[i].kind, operations, errors);
	}
}

int work(void)
{
	long began = now_ms(), moved = began, told = began, asked = began, last = 0;

	start_all();
	while (reap()) {
		long now = now_ms(), all = finished();

		if (all != last)
			moved = now;
		last = all;
		if (now - moved > job.stall * 1000L) {
			tell("worked");
			record("stall", "%ld", now - moved);
			return 0;
		}
		if (now - told > 1000) {
			record("progress", "%ld", all);
			told = now;
		}
		if (!*enough && now - asked > ASK_MS) {
			*enough = sensors_file_writes() >= job.until;
			asked = now;
		}
		usleep(job.window * 1000);
		sensors_look();
	}
	record("time", "%ld", now_ms() - began);
	kill_all();
	sensors_stop();
	tell("worked");
	return 1;
}
