/* SPDX-License-Identifier: BSD-3-Clause */
/* See recover.h. */
#include "common/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/body.h"
#include "common/boot.h"
#include "common/error.h"
#include "common/owner.h"
#include "common/space.h"

struct ma_certainty ma_image_certainty(const struct ma_image *image)
{
	return ma_header_certainty(&image->sealed, &image->place);
}

int ma_image_take_space(struct ma_image *image)
{
	int result;

	ma_store(&image->opening_space, true);
	result = image->engine->reserve_space(image);
	ma_store(&image->opening_space, false);
	return result;
}

static void report_damage(const struct ma_finding *finding, void *arg)
{
	struct ma_image *image = arg;

	ma_debug("%s: map is damaged: %s", image->name, finding->text);
}

int ma_image_check_whole(struct ma_image *image)
{
	uint64_t violations = image->engine->check(image, report_damage, image);

	if (violations == 0)
		return 0;
	return ma_fail(EUCLEAN,
		       "%s: map is damaged: violations found: %" PRIu64
		       "; restore a copy, or keep what can be proved: mapalloc repair --salvage",
		       image->name, violations);
}

/* Two files differ by their inodes; two views of one file, by the processes and the moments. */
static uint64_t salt_of(const struct ma_image *image)
{
	if (image->mode & MA_MAP_PRIVATE)
		return ma_mix((uint64_t)getpid()) ^ (uint64_t)clock();
	return ma_mix(image->place.inode ^ image->place.device << 32);
}

int ma_image_recover(struct ma_image *image, unsigned how)
{
	uint32_t slot = ma_load(&image->slot);
	int result = 0;

	if (how & MA_RECOVER_MARK)
		/* Pairs with common/map_recover.c:is_in_use. */
		ma_store_kill(&image->header->phase, 0);
	ma_store(&image->slot, 0); /* No other process is here: any slot will do meanwhile. */
	if (how & MA_RECOVER_RENEW)
		result = image->engine->renew(image);
	if (result == 0)
		ma_body_recover(image);
	if (result == 0 && (how & MA_RECOVER_TAGS))
		ma_owner_move_on(image, salt_of(image));
	if (result == 0 && (how & MA_RECOVER_CHECK))
		result = ma_image_check_whole(image);
	ma_store(&image->slot, slot);
	return result;
}

/* Killed or cut from here on, the next opener checks all of it. */
void ma_image_salvage(struct ma_image *image, struct ma_findings *to)
{
	struct ma_header *h = image->header;

	ma_store_kill(&h->phase, 0); /* Pairs with common/map_recover.c:is_in_use. */
	ma_store(&h->state, MA_STATE_IN_USE);
	memset(h->boot_id, 0, sizeof(h->boot_id));
	image->engine->salvage(image, to);
}

void ma_image_mark_ready(struct ma_image *image)
{
	struct ma_header *h = image->header;

	/*
	 * Pairs with common/map_recover.c:is_in_use. Before the rest: a copy that says "closed and synced" must not reach the disk as if that was
	 * said of this file.
	 */
	ma_store_kill(&h->state, MA_STATE_IN_USE);
	ma_boot_id(h->boot_id);
	ma_header_put_place(h, &image->place);
	ma_store(&h->captures, 0);
	ma_store(&h->covered, 0);
	ma_store(&h->committed, 0);
	ma_store(&h->attaches, 0);
	image->generation = atomic_fetch_add_explicit(&h->generation, 1, memory_order_relaxed) + 1;
	ma_store_kill(&h->phase, 1); /* Pairs with common/map_recover.c:is_in_use. */
}

void ma_image_count_attach(struct ma_image *image)
{
	/* Pairs with common/checkpoint.c:list_changed. */
	atomic_fetch_add_explicit(&image->header->attaches, 1, memory_order_release);
}

int ma_image_mark_closed(struct ma_image *image, bool sync)
{
	struct ma_header *h = image->header;

	ma_store_release(&h->state, MA_STATE_CLOSED);
	if (!sync)
		return 0;
	if (ma_space_sync_all(image) < 0)
		return -1;
	ma_store_release(&h->state, MA_STATE_SYNCED); /* Pairs with common/header.c:ma_header_certainty. */
	return ma_space_sync(image, 0, MA_PAGE);
}
