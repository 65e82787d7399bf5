/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MINI_H
#define MINI_H

struct page {
	unsigned long flags;
	unsigned long index;
};

int submit_io(struct page *page);
int pageout(struct page *page);
int minifs_writepage(struct page *page);
void note(const char *text, unsigned long size);

#endif
