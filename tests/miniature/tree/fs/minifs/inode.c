// SPDX-License-Identifier: GPL-2.0-or-later
#include "mini.h"

int minifs_writepage(struct page *page)
{
	if (page->index == 0)
		return 0;

	page->flags &= ~1UL;
	return submit_io(page);
}
