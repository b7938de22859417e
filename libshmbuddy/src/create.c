/* SPDX-License-Identifier: BSD-3-Clause */
/* Create a region in a file. The magic number is written last: a file without it is an unfinished creation, which the next opener starts again. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/file.h"
#include "opening.h"

#define MOST_EAGER ((uint64_t)1 << 30)

static int set_length(struct shmbuddy *h, const struct ma_regfile *f)
{
	return ma_regfile_size(f, f->given ? f->given : h->lay.area_at + h->lay.first);
}

static bool plan(const struct opening *how, uint64_t given, enum storage where, struct layout *lay)
{
	if (given)
		return shmbuddy__handle_fit(&how->options, where, given, lay);
	return shmbuddy__handle_plan(&how->options, where, lay);
}

/* Space for the tables of the whole; or, where the disk cannot promise any, for all there is. */
static int have_space(const struct opening *how, const struct ma_regfile *f)
{
	struct shmbuddy *h = how->h;
	int result = ma_file_take(h->fd, 0, h->lay.meta_at);

	if (result < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
		if (!plan(how, f->given, REGION_EAGER, &h->lay))
			return -1;
		if (h->lay.area_at + h->lay.first > MOST_EAGER)
			return ma_fail(EOPNOTSUPP,
				       "%s: cannot create it with %" PRIu64
				       " bytes: this file system has no fallocate(2), which allows 1 GiB at most; use "
				       "another file system",
				       h->name, h->lay.area_at + h->lay.first);
		if (set_length(h, f) < 0)
			return -1;
		result = ma_file_take_by_writing(h->fd, 0, h->lay.area_at + h->lay.first);
	}
	if (result < 0)
		return ma_fail(errno,
			       "%s: cannot create it: no disk space for %" PRIu64
			       " bytes of tables; free space on its file system",
			       h->name, h->lay.meta_at);
	return 0;
}

int shmbuddy__create(struct opening *how, struct ma_regfile *f)
{
	struct ma_header *header = &f->header;
	struct shmbuddy *h = how->h;

	if (!plan(how, f->given, REGION_SPARSE, &h->lay) || set_length(h, f) < 0 || have_space(how, f) < 0)
		return -1;
	shmbuddy__handle_new_area(h);
	shmbuddy__handle_header(h, header);
	if (f->given)
		memcpy(header->magic, MA_MAGIC_GIVEN, sizeof(header->magic));
	if (pwrite(h->fd, header, sizeof(*header), 0) != (ssize_t)sizeof(*header) ||
	    shmbuddy__handle_make_certain(h, header) < 0)
		return ma_fail(errno,
			       "%s: cannot write its header: pwrite(2) failed; check the disk and its free space",
			       h->name);
	if (shmbuddy__handle_map(h, how->options.address) < 0)
		return -1;
	if (h->lay.sparse && shmbuddy__region_reserve_space(h, 0, 1) < 0)
		return ma_fail(
			errno,
			"%s: cannot create it: no disk space for its first blocks; free space on its file system",
			h->name);
	shmbuddy__handle_mark_backed(h);
	if (pwrite(h->fd, MA_MAGIC, 8, 0) != 8)
		return ma_fail(errno,
			       "%s: cannot write its header: pwrite(2) failed; check the disk and its free space",
			       h->name);
	h->opening = (struct shmbuddy_opening){ .generation = 1, .created = 1, .first = 1 };
	return 0;
}
