/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams that grow at the same time, in a process that is killed at some moment. */
#include <unistd.h>

#include "tests/crash/mmalloc_scene.h"

#define ROUNDS 40

/* Threads are spread over the streams: two of four differ most of the time. */
static void grow_for_ever(struct support_thread *self)
{
	void *blocks[100];

	for (;;) {
		for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
			blocks[i] = mmalloc(self->arg, self->index % 2 ? 5000 : SCENE_LARGE);
		for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
			mfree(self->arg, blocks[i]);
		g_assert_cmpint(mmalloc_trim(self->arg), >=, 0);
	}
}

static int grow_until_killed(void *path)
{
	support_threads(4, grow_for_ever, heap_attach(path));
	return 1;
}

/* Each round kills one process. In every second round no other process is attached; in the others this one goes on in the same heap. */
void races_of_growth(void)
{
	struct mmalloc_options options = { .streams = 4, .reserve = 64 * MIB };
	struct support_rand r;

	support_rand_seed(&r, 1);
	for (size_t round = 0; round < support_scale(ROUNDS); round++) {
		const char *path = support_path("races");
		int fd = heap_file(path);
		void *md = mmalloc_attach_opt(fd, NULL, &options);
		char *block;

		g_assert_nonnull(md);
		if (round % 2)
			heap_detach(md);
		support_kill_after_us(support_fork(grow_until_killed, (void *)(uintptr_t)path),
				      500 + (unsigned)support_rand_below(&r, 8000));
		if (round % 2)
			md = mmalloc_attach(fd, NULL);
		g_assert_nonnull(md);
		g_assert_cmpuint(scene_length(md), <=, (size_t)support_file_size(path));
		heap_check(md);
		support_free_all_by(&support_mmalloc_calls, md);
		block = mmalloc(md, 50 * MIB);
		g_assert_nonnull(block);
		block[0] = block[50 * MIB - 1] = 1;
		g_assert_cmpuint(scene_length(md), <=, (size_t)support_file_size(path));
		heap_detach(md);
		close(fd);
		unlink(path);
	}
}
