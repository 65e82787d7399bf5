// SPDX-License-Identifier: GPL-2.0-or-later
/* Records to the host, one a line: NONCE NUMBER NAME VALUE. Only the first process writes. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define EXIT_PORT 0xf4	/* iobase of isa-debug-exit on the host's command line */

static int out = -1;
static unsigned number;

void record_open(void)
{
	struct termios raw;

	out = open("/dev/ttyS1", O_WRONLY | O_NOCTTY);
	if (out < 0 || tcgetattr(out, &raw))
		return;
	cfmakeraw(&raw);
	tcsetattr(out, TCSANOW, &raw);
}

static void send_all(const char *text, size_t size)
{
	while (size > 0) {
		ssize_t done = write(out, text, size);

		if (done < 0)
			return;
		text += done;
		size -= done;
	}
}

void record(const char *name, const char *format, ...)
{
	static char line[8192];
	int size = snprintf(line, sizeof(line), "%s %u %s ", job.nonce, ++number, name);
	va_list values;

	va_start(values, format);
	size += vsnprintf(line + size, sizeof(line) - size - 1, format, values);
	va_end(values);
	if (size > (int)sizeof(line) - 2)
		size = sizeof(line) - 2;
	line[size++] = '\n';
	send_all(line, size);
}

/* Sends a file's lines, a record each, as long as they are no more than `most` bytes. */
void record_file(const char *name, const char *path, size_t most)
{
	FILE *file = fopen(path, "r");
	char line[4096];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		size_t size = strcspn(line, "\n");

		line[size] = 0;
		if (size + 1 > most) {
			record("cut", "%s", name);
			break;
		}
		most -= size + 1;
		if (size)
			record(name, "%s", line);
	}
	fclose(file);
}

void leave(enum leave code)
{
	char byte = code;
	int port = open("/dev/port", O_WRONLY);

	tcdrain(out);
	if (port < 0 || pwrite(port, &byte, 1, EXIT_PORT) != 1)
		record("problem", "no way out: %s", strerror(errno));
	for (;;)
		pause();
}

void problem(const char *what)
{
	record("problem", "%s: %s", what, strerror(errno));
	leave(LEAVE_SETUP);
}
