// SPDX-License-Identifier: GPL-2.0-or-later
/* Devices and what lies on them: layers, filesystems, the file that is overwritten. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#define SECTOR 512
#define CHUNK (256 * PAGE)
#define BAD_PAGES 1024		/* at the end of the file, on the layer `error` */
#define MAX_SPANS 512
#define SHOWN 8			/* bad pages that are told one by one */

uint32_t *generations[MAX_DISKS];

static const char *file_of(const struct disk *disk)
{
	static char path[2 * NAME];

	snprintf(path, sizeof(path), "%s/data", disk->top);
	return path;
}

static long pages_of(const struct disk *disk)
{
	return disk->megabytes << 20 >> 12;
}

static void over_loop(struct disk *disk)
{
	int control = open("/dev/loop-control", O_RDWR), number, loop, below;

	number = ioctl(control, LOOP_CTL_GET_FREE);
	if (number < 0)
		problem("loop-control");
	below = open(disk->block, O_RDWR);
	snprintf(disk->block, sizeof(disk->block), "/dev/loop%d", number);
	loop = open(disk->block, O_RDWR);
	if (below < 0 || loop < 0 || ioctl(loop, LOOP_SET_FD, below))
		problem(disk->block);
	/* else every page would be cached twice, and what is dirty below is nobody's to reclaim */
	if (ioctl(loop, LOOP_SET_DIRECT_IO, 1UL))
		problem("direct I/O below the loop device");
	close(below);
	close(loop);
	close(control);
}

struct span {
	uint64_t first, sectors;
};

static int by_place(const void *one, const void *other)
{
	const struct span *a = one, *b = other;

	return (a->first > b->first) - (a->first < b->first);
}

/* Returns where the last pages of the file lie on the disk, merged and in order. */
static int bad_spans(const struct disk *disk, struct span *spans)
{
	int fd, size, count = 0;

	mkdir(disk->top, 0755);
	if (mount(disk->block, disk->top, disk->kind, MS_RDONLY, NULL))
		problem("mount to look where the file lies");
	fd = open(file_of(disk), O_RDONLY);
	if (fd < 0 || ioctl(fd, FIGETBSZ, &size))
		problem(file_of(disk));
	for (long at = (pages_of(disk) - BAD_PAGES) * (PAGE / size); at < pages_of(disk) * (PAGE / size); at++) {
		int block = at;
		uint64_t first;

		if (ioctl(fd, FIBMAP, &block) || !block)
			problem("FIBMAP");
		first = (uint64_t)block * (size / SECTOR);
		if (count && spans[count - 1].first + spans[count - 1].sectors == first)
			spans[count - 1].sectors += size / SECTOR;
		else if (count == MAX_SPANS)
			problem("the file lies in too many pieces");
		else
			spans[count++] = (struct span){first, size / SECTOR};
	}
	close(fd);
	if (umount(disk->top))
		problem("umount");
	qsort(spans, count, sizeof(*spans), by_place);
	return count;
}

static uint64_t sectors_of(const char *block)
{
	int fd = open(block, O_RDONLY);
	uint64_t bytes;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		problem(block);
	close(fd);
	return bytes / SECTOR;
}

static char table[(2 * MAX_SPANS + 1) * 128 + 4096];

static char *target(char *at, const char *type, uint64_t first, uint64_t sectors, const char *below)
{
	struct dm_target_spec *spec = (void *)at;
	char *text = at + sizeof(*spec);

	if (!sectors)
		return at;
	memset(spec, 0, sizeof(*spec));
	spec->sector_start = first;
	spec->length = sectors;
	strcpy(spec->target_type, type);
	if (!strcmp(type, "linear"))
		sprintf(text, "%s %llu", below, (unsigned long long)first);
	else
		*text = 0;
	spec->next = (sizeof(*spec) + strlen(text) + 8) & ~7;
	((struct dm_ioctl *)table)->target_count++;
	return at + spec->next;
}

static void dm(int control, unsigned long command, const char *name)
{
	struct dm_ioctl *head = (void *)table;

	head->version[0] = DM_VERSION_MAJOR;
	head->data_size = sizeof(table);
	head->data_start = sizeof(*head);
	strcpy(head->name, name);
	if (ioctl(control, command, head))
		problem("device mapper");
}

/* Puts a device of the device mapper on top; on `error` the end of the file cannot be used. */
static void over_dm(struct disk *disk, int errors)
{
	static struct span spans[MAX_SPANS];
	static int number;
	int count = errors ? bad_spans(disk, spans) : 0;
	uint64_t all = sectors_of(disk->block), at = 0;
	char name[] = "stress0", *end = table + sizeof(struct dm_ioctl);
	int control = open("/dev/mapper/control", O_RDWR);

	if (control < 0)
		problem("/dev/mapper/control");
	name[6] += number;
	dm(control, DM_DEV_CREATE, name);
	memset(table, 0, sizeof(table));
	for (int i = 0; i < count; i++) {
		end = target(end, "linear", at, spans[i].first - at, disk->block);
		end = target(end, "error", spans[i].first, spans[i].sectors, "");
		at = spans[i].first + spans[i].sectors;
	}
	target(end, "linear", at, all - at, disk->block);
	dm(control, DM_TABLE_LOAD, name);
	memset(table, 0, sizeof(table));
	dm(control, DM_DEV_SUSPEND, name);	/* without its flag: resume */
	close(control);
	snprintf(disk->block, sizeof(disk->block), "/dev/dm-%d", number++);
}

void disks_attach(void)
{
	for (int i = 0; i < job.disk_count; i++) {
		struct disk *disk = job.disks + i;
		char layers[NAME], *rest = layers, *layer;

		strcpy(layers, disk->layers);
		snprintf(disk->block, sizeof(disk->block), "/dev/%.50s", disk->device);
		snprintf(disk->top, sizeof(disk->top), "/disk%d", i);
		while ((layer = strsep(&rest, "+"))) {
			if (!strcmp(layer, "loop"))
				over_loop(disk);
			else if (!strcmp(layer, "dm"))
				over_dm(disk, 0);
			else if (!strcmp(layer, "error") && !job.prepare)
				over_dm(disk, 1);
		}
	}
}

static void mount_one(const struct disk *disk)
{
	mkdir(disk->top, 0755);
	if (mount(disk->block, disk->top, disk->kind, 0, NULL))
		problem(disk->kind);
}

static int is_error_layered(const struct disk *disk)
{
	return strstr(disk->layers, "error") != NULL;
}

void disks_mount(void)
{
	for (int i = 0; i < job.disk_count; i++) {
		struct disk *disk = job.disks + i;
		long pages = pages_of(disk);

		if (!strcmp(disk->kind, "swap")) {
			if (!job.prepare && swapon(disk->block, 0))
				problem("swapon");
			continue;
		}
		mount_one(disk);
		if (!pages)
			continue;
		generations[i] = mmap(NULL, pages * sizeof(uint32_t), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (generations[i] == MAP_FAILED)
			problem("generations");
		for (long page = pages - BAD_PAGES; is_error_layered(disk) && page < pages; page++)
			generations[i][page] = UNKNOWN;
	}
}

/* Writes each file once in full, so that its blocks are allocated and its pages known. */
void disks_fill(void)
{
	static char chunk[CHUNK];

	for (int i = 0; i < job.disk_count; i++) {
		struct disk *disk = job.disks + i;
		long pages = pages_of(disk);
		int fd;

		if (!strcmp(disk->kind, "swap"))
			continue;
		fd = pages ? open(file_of(disk), O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
		for (long page = 0; page < pages; page += CHUNK / PAGE) {
			for (int n = 0; n < CHUNK / PAGE; n++)
				pattern(chunk + n * PAGE, i, page + n, 0);
			if (write(fd, chunk, CHUNK) != CHUNK)
				problem(file_of(disk));
		}
		if (pages && (fsync(fd) || close(fd)))
			problem(file_of(disk));
		if (umount(disk->top))
			problem("umount");
	}
}

static const char *told(const void *page, unsigned file, unsigned number, uint32_t wanted)
{
	static const char zero[PAGE];
	static char text[NAME];
	int found = pattern_generation(page, file, number);

	if (!memcmp(page, zero, PAGE))
		return "zero";
	if (found < 0)
		return "torn";
	snprintf(text, sizeof(text), "%s", (uint32_t)found < wanted ? "stale" : "new");
	return text;
}

/* Compares what was written with what is there after the disk was mounted anew. */
static void verify(int index)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	struct disk *disk = job.disks + index;
	long pages = pages_of(disk), looked = 0, bad = 0, unread = 0;
	int fd = open(file_of(disk), O_RDONLY);

	if (fd < 0) {
		record("lost", "%d %s: %s", index, disk->kind, strerror(errno));
		return;
	}
	for (long at = 0; at < pages; at++) {
		uint32_t wanted = generations[index][at];

		/* of what was never written a sample is looked at: nothing may have hit it */
		if (wanted == UNKNOWN || (!wanted && at % 16))
			continue;
		looked++;
		if (pread(fd, page, PAGE, at * (off_t)PAGE) != PAGE) {
			unread++;
		} else if (pattern_generation(page, index, at) != (int)wanted) {
			if (bad++ < SHOWN)
				record("bad-page", "%d %ld %s", index, at, told(page, index, at, wanted));
		}
	}
	record("verified", "%d %s %ld %ld %ld", index, disk->kind, looked, bad, unread);
	close(fd);
}

void disks_verify(void)
{
	for (int i = 0; i < job.disk_count; i++) {
		struct disk *disk = job.disks + i;
		int fd;

		if (!strcmp(disk->kind, "swap"))
			continue;
		fd = pages_of(disk) ? open(file_of(disk), O_RDWR) : -1;
		if (fd >= 0 && fsync(fd))
			record("fsync", "%d %s", i, strerror(errno));
		close(fd);
		if (umount(disk->top))
			problem("umount");
		mount_one(disk);
		if (pages_of(disk))
			verify(i);
		if (umount(disk->top))
			problem("umount");
	}
}
