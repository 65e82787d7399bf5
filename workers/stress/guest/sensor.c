// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the kernel is asked: a histogram of the pages that reclaim writes, the stack tracer,
 * counters before and after. Each sensor proves in every boot that it is not deaf.
 */
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WRITES TRACING "events/vmscan/mm_vmscan_write_folio/"
#define OLD_WRITES TRACING "events/vmscan/mm_vmscan_writepage/"	/* its name before 6.0 */
#define FORKS TRACING "events/sched/sched_process_fork/"
#define DIRECT "/sys/kernel/debug/provoke-crash/DIRECT"
#define HIST "hist:keys=common_pid.execname,reclaim_flags,stacktrace:size=4096"
#define NO_MORE "1000000"	/* bytes: no stack is deeper, so that none is recorded */
#define WB_FILE 2			/* RECLAIM_WB_FILE, include/trace/events/vmscan.h */
#define PROOF "ksys_write"	/* of the tracer */
#define KEPT 256		/* stacks, each of other functions or frames */
#define OTHERS 128		/* of them, at most, not below reclaim */
#define TEXT 6144		/* bytes of one */
#define GENERAL_MS 600
#define OWN_MS 300
#define BETWEEN 4			/* long windows without short ones after them */
#define SHORT_ONES 8		/* windows */
#define SHORT 400		/* microseconds */
#define MOST (128 << 10)	/* bytes of a file that is sent */

struct seen {
	uint32_t hash;		/* of the functions and their sizes */
	char *text;		/* "depth name+offset size name+offset size ...", innermost first */
};

static struct seen seen[KEPT];
static int seen_count;
static int others;		/* that do not go through reclaim */
static long windows, reclaiming;

static const char *writes(void)
{
	return access(WRITES, F_OK) ? OLD_WRITES : WRITES;
}

static const char *in_writes(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s%s", writes(), name);
	return path;
}

static void prove_hist(void)
{
	char text[4096], *found;
	pid_t pid;

	put(FORKS "trigger", "hist:keys=common_pid");
	pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	get(FORKS "hist", text, sizeof(text));
	put(FORKS "trigger", "!hist:keys=common_pid");
	found = strstr(text, "Hits:");
	record("proof", "hist %d", found ? atoi(found + 5) : 0);
}

/* Reads the deepest stack; nothing may deepen while its pages are read one by one. */
static size_t read_stack(char *text, size_t size)
{
	put(TRACING "stack_max_size", NO_MORE);
	return get(TRACING "stack_trace", text, size);
}

static void prove_tracer(void)
{
	static char text[TEXT];

	put(TRACING "stack_trace_filter", PROOF);
	put(TRACING "stack_max_size", "0");
	put("/proc/sys/kernel/stack_tracer_enabled", "1");
	put("/dev/null", "x");
	read_stack(text, sizeof(text));
	put("/proc/sys/kernel/stack_tracer_enabled", "0");
	record("proof", "tracer %d", strstr(text, PROOF "+") != NULL);
}

void sensors_prove(void)
{
	/* the host looks for it on the console */
	record("proof", "warn %d", put(DIRECT, "WARNING"));
	prove_hist();
	prove_tracer();
	record("proof", "pressure %d", !access("/proc/pressure/memory", R_OK));
}

static void counters(const char *when)
{
	record("counters", "%s", when);
	record_file("vmstat", "/proc/vmstat", MOST);
	record_file("memory-pressure", "/proc/pressure/memory", MOST);
	record_file("io-pressure", "/proc/pressure/io", MOST);
	if (job.memcg) {
		record_file("memory-stat", CGROUP "work/memory.stat", MOST);
		record_file("memory-events", CGROUP "work/memory.events", MOST);
	}
}

/*
 * Traces other functions from now on. A glob that matches nothing is told once: on another
 * kernel its functions may be called otherwise.
 */
static void set_filter(const char *globs)
{
	static int told[2];
	int *once = told + (globs == job.own);
	char copy[sizeof(job.filter)], word[NAME], *glob, *rest = copy;
	int fd;

	put(TRACING "stack_max_size", NO_MORE);	/* the old functions still do meanwhile */
	snprintf(copy, sizeof(copy), "%s", globs);
	/* the filter changes when it is closed: an empty one would trace every function there is */
	fd = open(TRACING "stack_trace_filter", O_WRONLY | O_TRUNC);
	while ((glob = strsep(&rest, " "))) {
		int size = snprintf(word, sizeof(word), "%.50s ", glob);

		if (*glob && write(fd, word, size) < 0 && !*once)
			record("no-function", "%s", glob);
	}
	close(fd);
	*once = 1;
	put(TRACING "stack_max_size", "0");
}

/* A part of the time only the filesystem's own functions are traced, which nobody hides. */
static void choose_filter(void)
{
	static int was;
	int own = *job.own && now_ms() % (GENERAL_MS + OWN_MS) > GENERAL_MS;

	if (own != was)
		set_filter(own ? job.own : job.filter);
	was = own;
}

/* Writes that reclaim started so far, by the counter that the histogram is held against. */
static void tell_writes(void)
{
	static char text[16 << 10];
	char *found;

	put("/proc/sys/vm/stat_refresh", "1");
	get("/proc/vmstat", text, sizeof(text));
	found = strstr(text, "nr_vmscan_write ");
	record("writes", "%ld", found ? atol(found + 16) : -1);
}

void sensors_start(void)
{
	put("/proc/sys/vm/stat_refresh", "1");
	counters("before");
	if (!put(in_writes("trigger"), HIST))
		problem("hist trigger");
	put("/proc/sys/kernel/stack_tracer_enabled", "1");
	set_filter(job.filter);
}

static uint32_t hashed(const char *text, uint32_t hash)	/* FNV-1a */
{
	while (*text)
		hash = (hash ^ (unsigned char)*text++) * 16777619;
	return hash;
}

/* Whether a stack goes through the function of reclaim that writes pages. */
static int writes_pages(const char *text)
{
	static const char *const names[] = {" pageout+", " shrink_folio_list+", " shrink_page_list+"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strstr(text, names[i]))
			return 1;
	return 0;
}

/*
 * Keeps a stack that was not seen yet; of those that do not write pages some, since the frames
 * of the block layer are the same below everybody. Lines are "  3)     2104      64   name+0x1/0x2"; what
 * is hashed leaves the offsets out, since a frame is as large wherever its function calls.
 */
static void keep(char *text)
{
	static char packed[TEXT];
	char *line, *rest = strstr(text, "  0)");
	uint32_t hash = 2166136261;
	int ours = writes_pages(text);
	int depth, size, at = 0, first = 0;

	if (!rest)
		return;
	reclaiming += ours;
	while ((line = strsep(&rest, "\n"))) {
		char name[NAME], offset[NAME] = "0";

		if (sscanf(line, " %*d) %d %d %63[^+ ]+0x%15[0-9a-f]", &depth, &size, name, offset) < 3)
			continue;
		first = first ? first : depth;
		hash = hashed(name, hash) + size;
		at += snprintf(packed + at, at < TEXT ? TEXT - at : 0, " %s+%s %d", name, offset, size);
		if (at >= TEXT)
			return;
	}
	for (int i = 0; i < seen_count; i++)
		if (seen[i].hash == hash)
			return;
	if (seen_count == KEPT || (!ours && others == OTHERS))
		return;
	others += !ours;
	seen[seen_count].hash = hash;
	if (asprintf(&seen[seen_count].text, "%d%s", first, packed) > 0)
		seen_count++;
}

static void look(void)
{
	static char text[TEXT];

	windows++;
	if (get(TRACING "stack_max_size", text, sizeof(text)) && atoi(text) && read_stack(text, sizeof(text)))
		keep(text);
}

/* Waits without sleeping, which would take a tick at least. */
static void spin(long microseconds)
{
	struct timespec now;
	long ends = 0, at;

	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		at = now.tv_sec * 1000000 + now.tv_nsec / 1000;
		ends = ends ? ends : at + microseconds;
	} while (at < ends);
}

/*
 * Looks at the deepest stack of the window that ends now, and opens the next one. The deepest
 * hides all others: direct reclaim writing to swap hides kswapd writing a file. Therefore
 * some windows are so short that hardly two pages are written in one.
 */
void sensors_look(void)
{
	static int turn;

	look();
	choose_filter();
	for (int n = 0; turn % BETWEEN == 0 && n < SHORT_ONES; n++) {
		put(TRACING "stack_max_size", "0");
		spin(SHORT);
		look();
	}
	turn++;
	put(TRACING "stack_max_size", "0");
}

/* Returns how many file pages kswapd has written so far, by the histogram. */
long sensors_file_writes(void)
{
	FILE *file = fopen(in_writes("hist"), "r");
	char line[512];
	long all = 0, count;
	int ours = 0, flags;

	while (file && fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, "reclaim_flags:");

		if (at && sscanf(at, "reclaim_flags: %d", &flags) == 1)
			ours = strstr(line, "common_pid: kswapd") && (flags & WB_FILE);
		else if (ours && sscanf(line, "} hitcount: %ld", &count) == 1)
			all += count;
	}
	if (file)
		fclose(file);
	return all;
}

void sensors_stop(void)
{
	put("/proc/sys/kernel/stack_tracer_enabled", "0");
	tell_writes();
	append(in_writes("trigger"), HIST ":pause");	/* truncating would remove it */
	tell_writes();
	counters("after");
	record_file("write", in_writes("hist"), MOST);
	record("windows", "%ld %ld", windows, reclaiming);
	for (int i = 0; i < seen_count; i++)
		record("stack", "%s", seen[i].text);
}
