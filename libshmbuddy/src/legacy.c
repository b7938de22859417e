/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * <shm_alloc.h>: one handle for the process. It is published by one store, so a signal handler sees it or not; the
 * mutex is for those who race to open it.
 */
#include <errno.h>
#include <pthread.h>

#include "common/env.h"
#include "common/error.h"
#include "handle.h"
#include <shm_alloc.h>

static _Atomic(shmbuddy_t *) region;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

bool shm_init(void *optional_addr, const char *shm_filename)
{
	const struct shmbuddy_options options = { .address = optional_addr };
	shmbuddy_t *h;

	pthread_mutex_lock(&mutex);
	h = ma_load_acquire(&region);
	if (!h) {
		const char *name = shm_filename ? shm_filename : ma_env("SHM_FILE");

		if (name && *name)
			h = shmbuddy_open(name, &options);
		else
			ma_fail(EINVAL,
				"shm_init() failed: no file name was given and $SHM_FILE is not set; give one of them");
		if (h)
			ma_store_release(&region, h); /* Pairs with libshmbuddy/src/legacy.c:shm_malloc. */
	}
	pthread_mutex_unlock(&mutex);
	return h != NULL;
}

bool shm_grow(uint64_t capacity)
{
	/* Pairs with libshmbuddy/src/legacy.c:shm_init. */
	return shmbuddy_grow(ma_load_acquire(&region), capacity) == 0;
}

void shm_deinit(void)
{
	shmbuddy_t *h;

	pthread_mutex_lock(&mutex);
	h = atomic_exchange(&region, NULL); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */
	if (h)
		shmbuddy_close(h);
	pthread_mutex_unlock(&mutex);
}

void *get_shm_user_base(void)
{
	return shmbuddy_base(ma_load_acquire(&region)); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */
}

shm_offt shm_malloc(size_t size)
{
	return shmbuddy_malloc(ma_load_acquire(&region), size); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */
}

shm_offt shm_calloc(size_t count, size_t size)
{
	/* Pairs with libshmbuddy/src/legacy.c:shm_init. */
	return shmbuddy_calloc(ma_load_acquire(&region), count, size);
}

void shm_free(shm_offt offset)
{
	shmbuddy_free(ma_load_acquire(&region), offset); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */
}

static void *address_of(shmbuddy_t *h, shm_offt offset)
{
	return offset ? (char *)h->base + offset : NULL;
}

void *ptr_malloc(size_t size)
{
	shmbuddy_t *h = ma_load_acquire(&region); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */

	return address_of(h, shmbuddy_malloc(h, size));
}

void *ptr_calloc(size_t count, size_t size)
{
	shmbuddy_t *h = ma_load_acquire(&region); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */

	return address_of(h, shmbuddy_calloc(h, count, size));
}

void ptr_free(void *ptr)
{
	shmbuddy_t *h = ma_load_acquire(&region); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */
	shm_offt offset;

	if (!ptr)
		return;
	offset = shmbuddy_offset(h, ptr);
	if (offset)
		shmbuddy_free(h, offset);
}

/* Of the region, or of one with the options of shm_init(); and its length. */
static uint64_t numbers(struct layout *lay)
{
	shmbuddy_t *h = ma_load_acquire(&region); /* Pairs with libshmbuddy/src/legacy.c:shm_init. */

	if (region_is_open(h)) {
		*lay = h->lay;
		return lay->area_at + region_area(h);
	}
	shmbuddy__handle_plan(NULL, REGION_SPARSE, lay);
	return lay->area_at + lay->first;
}

size_t get_mapping_size_needed_by_shm(void)
{
	struct layout lay;

	return (size_t)numbers(&lay);
}

size_t get_shm_max_allocatable_size(void)
{
	struct layout lay;

	numbers(&lay);
	return (size_t)1 << lay.large_shift;
}

size_t get_shm_min_allocatable_size(void)
{
	struct layout lay;

	numbers(&lay);
	return (size_t)1 << lay.small_shift;
}

size_t get_sizeof_block_header(void)
{
	return 0;
}
