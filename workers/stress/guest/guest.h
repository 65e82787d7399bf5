/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /init of a guest under reclaim stress. It reads its job from /job, talks to the host by
 * records on the second serial port, and leaves through QEMU's isa-debug-exit device.
 */
#ifndef GUEST_H
#define GUEST_H

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096
#define TRACING "/sys/kernel/tracing/"
#define CGROUP "/sys/fs/cgroup/"
#define MAX_DISKS 4
#define MAX_WORKS 16
#define MAX_TUNES 32
#define MAX_WORKERS 64
#define NAME 64

/* What the debug-exit device is given; QEMU ends with (code << 1) | 1. */
enum leave {
	LEAVE_DONE = 0x10,	/* the job was done and told of to the end */
	LEAVE_SETUP = 0x11,	/* the guest could not be prepared: a `problem` record says why */
	LEAVE_STALL = 0x12,	/* no operation was finished for the job's stall seconds */
};

struct disk {
	char device[NAME];	/* below /dev */
	char kind[NAME];	/* filesystem as mount(2) takes it, or "swap" */
	char layers[NAME];	/* "", or of loop, dm, error: joined by "+", the lowest first */
	long megabytes;		/* of the file that is overwritten; 0: none */
	char top[NAME];		/* where it is mounted */
	char block[NAME];	/* what is mounted, after layers */
};

struct work {
	char kind[NAME];
	int processes;
	long operations;	/* of all processes together; 0: goes on until the others are done */
	long size;		/* what it means is the kind's: megabytes, per cent, descriptors */
	char where[NAME];	/* index of a disk */
};

struct job {
	char nonce[NAME];
	int prepare;		/* fill the disks instead of stressing them */
	int stall;		/* seconds without an operation that are too many */
	long until;		/* file pages that kswapd must have written before the work may end */
	long memcg;		/* bytes that the workload may have; 0: no group */
	int window;		/* milliseconds in which a stack may be the deepest */
	unsigned seed;
	struct disk disks[MAX_DISKS];
	int disk_count;
	struct work works[MAX_WORKS];
	int work_count;
	char tunes[MAX_TUNES][2][NAME];	/* below /proc/sys, value */
	int tune_count;
	char filter[1024];	/* of the stack tracer, globs: what every write passes */
	char own[1024];		/* and what only writes of the filesystem's files pass */
};

extern struct job job;

/* record.c: what goes to the host */
void record_open(void);
void record(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
void record_file(const char *name, const char *path, size_t most);
void leave(enum leave code) __attribute__((noreturn));
void problem(const char *what) __attribute__((noreturn));

/* file.c: small files of the kernel */
int put(const char *path, const char *text);
int append(const char *path, const char *text);
size_t get(const char *path, char *text, size_t size);
long now_ms(void);

/* disk.c: devices, filesystems, the files on them */
void disks_attach(void);
void disks_mount(void);
void disks_fill(void);
void disks_verify(void);

/* pattern.c: what a page holds */
void pattern(void *page, unsigned file, unsigned number, unsigned generation);
int pattern_generation(const void *page, unsigned file, unsigned number);

/* sensor.c: what the kernel is asked */
void sensors_prove(void);
void sensors_start(void);
void sensors_look(void);
long sensors_file_writes(void);
void sensors_stop(void);

/* work.c: the workload; returns whether it came to its end */
int work(void);

/* The generation of each page of a disk's file as it was written last; shared by all. */
extern uint32_t *generations[MAX_DISKS];
#define UNKNOWN UINT32_MAX	/* of a page of which nobody knows what it holds */

#endif
