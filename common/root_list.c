/* SPDX-License-Identifier: BSD-3-Clause */
/* What programs are shown of roots. */
#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/image.h"
#include "common/roots.h"

struct list {
	struct ma_image *map;
	ma_root_show_fn *fn;
	void *arg;
};

static int list_root(const char *name, size_t bytes, uint64_t offset, void *arg)
{
	const struct list *list = arg;
	char text[MA_ROOT_NAME + 1] = "";

	if (!ma_root_is_inside(list->map, offset))
		return 0;
	memcpy(text, name, bytes);
	return list->fn(text, list->map->base + offset, list->arg);
}

int ma_root_list(struct ma_image *map, ma_root_show_fn *fn, void *arg)
{
	struct list list = { .map = map, .fn = fn, .arg = arg };

	if (!fn)
		return ma_fail(EINVAL, "%s: cannot walk over the roots: the function is NULL; pass one", map->name);
	return ma_root_walk(map, list_root, &list);
}
