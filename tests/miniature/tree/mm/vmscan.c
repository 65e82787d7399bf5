// SPDX-License-Identifier: GPL-2.0-or-later
#include "mini.h"

static int may_write(struct page *page)
{
	return page->flags & 1;
}

__attribute__((noinline)) int pageout(struct page *page)
{
	if (!may_write(page))
		return 0;

	page->flags |= 2;
	return minifs_writepage(page);
}

int shrink_list(struct page *pages, int count)
{
	int done = 0;

	for (int i = 0; i < count; i++)
		done += pageout(&pages[i]);

	return done;
}
