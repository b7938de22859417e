/* SPDX-License-Identifier: BSD-3-Clause */
/* See origin.h. The first eight bytes are written first and last; what is between them a killed creator may have left. */
#include "common/origin.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/file.h"
#include "common/page.h"

static bool is_magic(const struct ma_header *h, uint64_t bytes, const char *magic)
{
	return bytes >= 8 && memcmp(h->magic, magic, 8) == 0;
}

bool ma_origin_find(struct ma_image *map, const struct ma_open *how, const struct ma_header *h, enum ma_refusal why,
		    struct ma_origin *from)
{
	struct stat st;

	*from = (struct ma_origin){ 0 };
	if (!(how->flags & MA_MAP_CREATE) || (why != MA_REFUSE_MAGIC && why != MA_REFUSE_HALF) ||
	    fstat(map->fd, &st) < 0 || ma_file_is_special(map->fd))
		return false;
	from->half = why == MA_REFUSE_HALF;
	if (st.st_size == 0 || (from->half && !is_magic(h, (uint64_t)st.st_size, MA_MAGIC_GIVEN)))
		return true;
	from->given = (uint64_t)st.st_size;
	return from->half || ma_file_is_zero(map->fd, 0, from->given);
}

struct ma_open ma_origin_fit(const struct ma_open *how, const struct ma_origin *from)
{
	uint64_t given = from->given;
	struct ma_open as = *how;

	if (!given)
		return as;
	as.reserved = how->reserved == how->length ? given : ma_max(how->reserved, ma_up(given, ma_page()));
	if (how->length) {
		as.length = given;
	} else { /* It grows from there. */
		as.length = ma_down(given, ma_page());
		as.param[MA_PARAM_GROWS] = 1;
	}
	return as;
}

int ma_origin_size(struct ma_image *map, const struct ma_origin *from)
{
	uint64_t length = ma_load(&map->sealed.length);

	if (from->half && ma_file_make_zero(map->fd, 8, from->given) < 0)
		return ma_fail(errno, "%s: cannot create it: cannot clear what an unfinished creation left; remove the file", map->name);
	if (!ma_file_allowed(length) || pwrite(map->fd, MA_MAGIC_GIVEN, 8, 0) != 8 ||
	    (length > from->given && ma_file_set_length(map->fd, length) < 0))
		return ma_fail(errno, "%s: cannot make it %" PRIu64 " bytes long", map->name, length);
	return 0;
}

/* The mark goes last: killed before, the next creator begins again. */
int ma_origin_undo(struct ma_image *map, const struct ma_origin *from)
{
	uint64_t given = from->given;
	struct stat st;

	if (fstat(map->fd, &st) == 0 && (uint64_t)st.st_size > given && ma_file_set_length(map->fd, given) < 0)
		return -1;
	if (ma_file_make_zero(map->fd, 8, given) < 0)
		return -1;
	return ma_file_make_zero(map->fd, 0, 8);
}
