/* SPDX-License-Identifier: BSD-3-Clause */
/* What a region's header says of the machine and the file that it was last opened on, and of its users since. */
#include <errno.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/error.h"
#include "common/file.h"
#include "handle.h"
#include "inspect.h"

bool shmbuddy__handle_is_certain(const struct shmbuddy *h, const struct ma_header *header)
{
	return ma_is_certain(ma_header_certainty(header, &h->place));
}

/* What an existing region's header says. */
void shmbuddy__handle_note_opening(struct shmbuddy *h, const struct ma_header *header, bool first)
{
	struct ma_certainty c = ma_header_certainty(header, &h->place);
	bool closed = ma_load(&header->state) != MA_STATE_IN_USE;

	h->opening = (struct shmbuddy_opening){
		.generation = ma_load(&header->generation) + first,
		.first = first,
		.copied = !c.same_file,
		.machine_died = !ma_is_same_run(c) && !c.synced,
		.closed = closed,
		.recovered = first && !closed,
	};
}

/* Bytes [first, end) of the header. */
static bool put(const struct shmbuddy *h, const struct ma_header *header, size_t first, size_t end)
{
	return pwrite(h->fd, (const char *)header + first, end - first, (off_t)first) == (ssize_t)(end - first);
}

/* No other process is attached: a new generation begins. Its counters are 0 before it begins. */
int shmbuddy__handle_begin_generation(struct shmbuddy *h, const struct ma_header *found)
{
	struct ma_header header = { .magic = { 0 } };

	ma_store(&header.durable, ma_load(&found->durable));
	ma_store(&header.generation, h->opening.generation);
	ma_store(&header.phase, 1);
	ma_store(&header.state, MA_STATE_IN_USE);
	if (!put(h, &header, offsetof(struct ma_header, durable), offsetof(struct ma_header, filesystem)) ||
	    !put(h, &header, offsetof(struct ma_header, generation), offsetof(struct ma_header, boot_id)))
		return ma_fail(errno, "%s: cannot write its header: pwrite(2) failed; check the disk", h->name);
	return 0;
}

/* From now on it is. Killed before or while writing: the next opener checks it all again. */
int shmbuddy__handle_make_certain(struct shmbuddy *h, struct ma_header *header)
{
	/* With the rest: a copy that says "closed and synced" must not reach the disk as if that was said of this file. */
	ma_store(&header->state, MA_STATE_IN_USE);
	ma_boot_id(header->boot_id);
	ma_header_put_place(header, &h->place);
	if (!put(h, header, offsetof(struct ma_header, filesystem), offsetof(struct ma_header, zero4)) ||
	    !put(h, header, offsetof(struct ma_header, state), offsetof(struct ma_header, tag)))
		return ma_fail(errno,
			       "%s: cannot write its header: pwrite(2) failed; check the disk and its free space",
			       h->name);
	return 0;
}
