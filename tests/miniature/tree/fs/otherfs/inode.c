// SPDX-License-Identifier: GPL-2.0-or-later
#include "mini.h"

int otherfs_writepage(struct page *page);

int otherfs_writepage(struct page *page)
{
	page->flags &= ~2UL;
	return submit_io(page);
}
