/* SPDX-License-Identifier: BSD-3-Clause */
/* See pagelist.h. */
#include "common/pagelist.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/page.h"

bool ma_pagelist_add(struct ma_pagelist *list, uint64_t from, uint64_t end)
{
	size_t room = list->room ? 2 * list->room : 256;
	struct ma_pages *longer;

	from /= MA_PAGE;
	end = (end + MA_PAGE - 1) / MA_PAGE;
	if (from >= end)
		return true;
	if (list->count == list->room) {
		longer = realloc(list->run, room * sizeof(*longer));
		if (!longer)
			return false;
		list->run = longer;
		list->room = room;
	}
	list->run[list->count++] = (struct ma_pages){ from, end };
	return true;
}

static int by_from(const void *a, const void *b)
{
	const struct ma_pages *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

void ma_pagelist_merge(struct ma_pagelist *list)
{
	struct ma_pages *run = list->run;
	size_t n = 0;

	if (list->count == 0)
		return;
	qsort(run, list->count, sizeof(*run), by_from);
	for (size_t i = 1; i < list->count; i++) {
		if (run[i].from <= run[n].end)
			run[n].end = ma_max(run[n].end, run[i].end);
		else
			run[++n] = run[i];
	}
	list->count = n + 1;
}

int ma_pagelist_data(struct ma_pagelist *list, int fd, uint64_t length)
{
	off_t from, to = 0;

	list->count = 0;
	while ((uint64_t)to < length && (from = lseek(fd, to, SEEK_DATA)) >= 0) {
		to = lseek(fd, from, SEEK_HOLE);
		if (to < 0)
			return -1;
		if (!ma_pagelist_add(list, ma_down((uint64_t)from, ma_page()),
				     ma_min(ma_up((uint64_t)to, ma_page()), length))) {
			errno = ENOMEM;
			return -1;
		}
	}
	ma_pagelist_merge(list);
	return 0;
}
