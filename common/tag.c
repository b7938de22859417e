/* SPDX-License-Identifier: BSD-3-Clause */
/* See tag.h. */
#include "common/tag.h"

#include <errno.h>
#include <inttypes.h>

#include "common/error.h"

uint64_t ma_image_tag(const struct ma_image *map)
{
	return ma_load_acquire(&map->header->tag); /* Pairs with common/tag.c:ma_image_set_tag. */
}

int ma_image_set_tag(struct ma_image *map, uint64_t tag)
{
	uint64_t was = 0;

	if (tag == 0)
		return ma_fail(EINVAL, "%s: cannot set a tag of 0: it means that none is set; use another number", map->name);
	if (!ma_image_writable(map))
		return ma_fail(EROFS, "%s: cannot change it: it is open read-only; open it for writing", map->name);
	if (ma_cas(&map->header->tag, &was, tag) || was == tag) /* Pairs with common/tag.c:ma_image_tag. */
		return 0;
	return ma_fail(EEXIST,
		       "%s: cannot set the tag %" PRIu64 ": it is %" PRIu64 " already; make a new map for another layout",
		       map->name, tag, was);
}
