// SPDX-License-Identifier: GPL-2.0-or-later
/* Small files of the kernel, and its clock. */
#include "guest.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int put_with(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags);
	int done = fd >= 0 && write(fd, text, strlen(text)) >= 0;

	if (fd >= 0)
		close(fd);
	return done;
}

/* Returns whether the file took the text. */
int put(const char *path, const char *text)
{
	return put_with(path, text, O_TRUNC);
}

int append(const char *path, const char *text)
{
	return put_with(path, text, O_APPEND);
}

/* Reads at most size - 1 bytes and ends them with 0; returns how many. */
size_t get(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY);
	size_t all = 0;
	ssize_t bytes;

	while (fd >= 0 && (bytes = read(fd, text + all, size - 1 - all)) > 0)
		all += bytes;
	if (fd >= 0)
		close(fd);
	text[all] = 0;
	return all;
}

long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
