// SPDX-License-Identifier: GPL-2.0-or-later
/* /init of a hostile guest: what it does stands in /job as "act WHAT". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_to(const char *path)
{
	return open(path, O_WRONLY | O_NOCTTY);
}

static void say(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		perror("write");
}

static void leave(int code)
{
	char byte = code;

	sleep(1);	/* until the ports are drained */
	if (pwrite(open_to("/dev/port"), &byte, 1, 0xf4) < 0)
		perror("port");
}

static void for_ever(int fd, const char *text)
{
	for (;;)
		say(fd, text);
}

static void record(int fd, const char *nonce, int number, const char *text)
{
	char line[300];

	snprintf(line, sizeof(line), "%s %d %s\n", nonce, number, text);
	say(fd, line);
}

int main(void)
{
	char act[32] = "", nonce[80] = "", line[200];
	FILE *job = fopen("/job", "r");
	int records, console, log;

	while (job && fgets(line, sizeof(line), job)) {
		sscanf(line, "act %31s", act);
		sscanf(line, "nonce %79s", nonce);
	}
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	records = open_to("/dev/ttyS1");
	console = open_to("/dev/console");
	log = open_to("/dev/kmsg");
	record(records, nonce, 1, "alive 6.1");
	if (!strcmp(act, "forge-records")) {
		say(records, "{\"outcome\": \"passed\"}\n");
		leave(0x10);
	} else if (!strcmp(act, "forge-account")) {	/* knows the nonce, and no sensor */
		record(records, nonce, 2, "end 1000");
		leave(0x10);
	} else if (!strcmp(act, "forge-panic")) {
		say(log, "<0>Kernel panic - not syncing: forged\n");
		record(records, nonce, 2, "end 1000");
		leave(0x10);
	} else if (!strcmp(act, "print-panic")) {
		say(console, "Kernel panic - not syncing: printed\r\n");
		leave(0x10);
	} else if (!strcmp(act, "early")) {
		leave(0x10);
	} else if (!strcmp(act, "stall-code")) {
		leave(0x12);
	} else if (!strcmp(act, "reboot")) {
		reboot(RB_AUTOBOOT);
	} else if (!strcmp(act, "flood")) {
		for_ever(console, "all work and no play makes the guest a dull machine\r\n");
	} else if (!strcmp(act, "flood-log")) {
		for_ever(log, "<1>all work and no play makes the guest a dull machine\n");
	} else if (!strcmp(act, "huge-record")) {
		for_ever(records, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	} else if (!strcmp(act, "spin")) {
		for (;;)
			;
	} else if (!strcmp(act, "fork-bomb")) {
		for (;;)
			if (fork() < 0)
				continue;
	} else if (!strcmp(act, "die")) {
		return 1;
	}
	for (;;)	/* hang */
		pause();
}
