// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads the job, does it, tells of it, leaves. */
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

struct job job = {.stall = 20, .window = 10};

static void mount_system(void)
{
	static const char *const tops[][2] = {
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tracefs", TRACING},
		{"debugfs", "/sys/kernel/debug"}, {"cgroup2", CGROUP},
	};

	for (size_t i = 0; i < sizeof(tops) / sizeof(*tops); i++) {
		mkdir(tops[i][1], 0755);
		mount(tops[i][0], tops[i][1], tops[i][0], 0, NULL);
	}
	put(CGROUP "cgroup.subtree_control", "+memory");
}

static void take_disk(const char *text)
{
	struct disk *disk = job.disks + job.disk_count;

	if (job.disk_count < MAX_DISKS &&
	    sscanf(text, "%31s %31s %31s %ld", disk->device, disk->kind, disk->layers, &disk->megabytes) == 4)
		job.disk_count++;
}

static void take_work(const char *text)
{
	struct work *work = job.works + job.work_count;

	if (job.work_count < MAX_WORKS &&
	    sscanf(text, "%31s %d %ld %ld %31s", work->kind, &work->processes, &work->operations,
		   &work->size, work->where) == 5)
		job.work_count++;
}

static void take_tune(const char *text)
{
	char (*tune)[NAME] = job.tunes[job.tune_count];

	if (job.tune_count < MAX_TUNES && sscanf(text, "%63s %63s", tune[0], tune[1]) == 2)
		job.tune_count++;
}

static void take(const char *name, const char *text)
{
	if (!strcmp(name, "nonce"))
		snprintf(job.nonce, sizeof(job.nonce), "%s", text);
	else if (!strcmp(name, "prepare"))
		job.prepare = atoi(text);
	else if (!strcmp(name, "stall"))
		job.stall = atoi(text);
	else if (!strcmp(name, "until"))
		job.until = atol(text);
	else if (!strcmp(name, "memcg"))
		job.memcg = atol(text);
	else if (!strcmp(name, "window"))
		job.window = atoi(text);
	else if (!strcmp(name, "seed"))
		job.seed = atoi(text);
	else if (!strcmp(name, "filter"))
		snprintf(job.filter, sizeof(job.filter), "%s", text);
	else if (!strcmp(name, "own"))
		snprintf(job.own, sizeof(job.own), "%s", text);
	else if (!strcmp(name, "disk"))
		take_disk(text);
	else if (!strcmp(name, "work"))
		take_work(text);
	else if (!strcmp(name, "tune"))
		take_tune(text);
}

static void read_job(void)
{
	FILE *file = fopen("/job", "r");
	char line[2048];

	while (file && fgets(line, sizeof(line), file)) {
		char *text = strchr(line, ' ');

		line[strcspn(line, "\n")] = 0;
		if (!text)
			continue;
		*text++ = 0;
		take(line, text);
	}
	if (file)
		fclose(file);
}

static void tune(void)
{
	for (int i = 0; i < job.tune_count; i++) {
		char path[2 * NAME];

		snprintf(path, sizeof(path), "/proc/sys/%s", job.tunes[i][0]);
		if (!put(path, job.tunes[i][1]))
			problem(path);
	}
}

/* Whoever waits says where, and whoever runs too: the host reads it on the console. */
static void show_all(void)
{
	put("/proc/sysrq-trigger", "l");
	put("/proc/sysrq-trigger", "w");
	put("/proc/sysrq-trigger", "m");
	sleep(1);
}

static void stress(void)
{
	sensors_prove();
	tune();
	disks_attach();
	disks_mount();
	sensors_start();
	record("phase", "work");
	if (!work()) {
		record("phase", "stalled");
		show_all();
		leave(LEAVE_STALL);
	}
	record("phase", "verify");
	disks_verify();
}

int main(void)
{
	struct utsname about;

	mount_system();
	read_job();
	record_open();
	uname(&about);
	record("alive", "%s", about.release);
	setpriority(PRIO_PROCESS, 0, -20);
	mlockall(MCL_CURRENT | MCL_FUTURE);	/* whoever looks must not wait for swap */
	put("/proc/self/oom_score_adj", "-1000");
	if (job.prepare) {
		disks_attach();
		disks_mount();
		disks_fill();
	} else {
		stress();
	}
	record("end", "%ld", now_ms());
	leave(LEAVE_DONE);
}
