/* SPDX-License-Identifier: BSD-3-Clause */
/* The application's own number of a region, and what this process found when it opened it. */
#include <errno.h>

#include "region.h"

int shmbuddy_settag(shmbuddy_t *h, uint64_t tag)
{
	uint64_t was = 0;
	int saved = errno;

	if (!shmbuddy__region_may_write(h))
		return -1;
	if (tag == 0)
		return shmbuddy__fail(h, EINVAL, "cannot set a tag of 0: it means that none is set; use another number");
	/* Pairs with libshmbuddy/src/tag.c:shmbuddy_gettag. */
	if (!ma_cas(&h->control->tag, &was, tag) && was != tag)
		return shmbuddy__fail(h, EEXIST, "cannot set the tag: another one is set; make a new region for another layout");
	errno = saved;
	return 0;
}

uint64_t shmbuddy_gettag(shmbuddy_t *h)
{
	if (region_is_open(h))
		return ma_load_acquire(&h->control->tag); /* Pairs with libshmbuddy/src/tag.c:shmbuddy_settag. */
	shmbuddy__fail_closed(h);
	return 0;
}

int shmbuddy_opening(shmbuddy_t *h, struct shmbuddy_opening *opening)
{
	if (!region_is_open(h))
		return shmbuddy__fail_closed(h);
	if (!opening)
		return shmbuddy__fail(
			h, EINVAL, "cannot say what was found at opening: the place for it is NULL; pass an address");
	*opening = h->opening;
	return 0;
}
