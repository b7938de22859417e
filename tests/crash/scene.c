/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/scene.h"

#include <pthread.h>

#include "common/body.h"
#include "common/header.h"
#include "common/lock.h"

/* --- blocks --- */

static int find_content(void *block, size_t size, void *found)
{
	*(bool *)found |= size >= 64 && support_kept(block, 64, 64, SCENE_TAG);
	return 0;
}

void scene_done_or_not(const struct support_calls *calls, void *map, const struct scene_blocks *blocks,
		       enum effect effect, bool moves)
{
	size_t before = blocks->before, after = support_count_by(calls, map);
	bool found = false;

	if (after != before)
		g_assert_cmpuint(after, ==, effect == TAKES ? before + 1 : effect == GIVES ? before - 1 : before);
	for (size_t i = 0; i < blocks->kept; i++)
		support_verify(&blocks->keep[i]);
	if (moves) {
		calls->walk(map, find_content, &found);
		g_assert_true(found);
	}
}

void scene_use_all_classes(const struct support_calls *calls, void *map, const char *base, const char *end,
			   const struct scene_blocks *kept, size_t one_size)
{
	static const size_t sizes[] = { 64, 64, 64, 1000, 1000, 5000, 5000, 70 * KIB, 100, 150 * KIB };
	struct support_block blocks[G_N_ELEMENTS(sizes) * 8], sorted[G_N_ELEMENTS(blocks)];
	size_t count = 0;

	for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++) {
		size_t size = one_size ? one_size : sizes[i % G_N_ELEMENTS(sizes)];

		if (size > 64 * KIB && i >= G_N_ELEMENTS(sizes))
			continue;
		g_assert_true(support_take_by(calls, map, &blocks[count], size, i));
		count++;
	}
	memcpy(sorted, blocks, sizeof(sorted));
	support_no_overlap_in(base, end, sorted, count);
	for (size_t i = 0; i < kept->kept; i++)
		support_verify(&kept->keep[i]);
	for (size_t i = 0; i < count; i++)
		support_give_by(calls, map, &blocks[i]);
}

/* --- a newcomer --- */

struct newcomer {
	void (*arrive)(void);
	_Atomic int arrived;
};

static int be_newcomer(void *arg)
{
	struct newcomer *newcomer = arg;

	newcomer->arrive();
	atomic_store(&newcomer->arrived, 1);
	pause();
	return 0;
}

pid_t scene_newcomer(void (*arrive)(void))
{
	struct newcomer *newcomer;
	pid_t pid;

	if (!crash_newcomer())
		return 0;
	newcomer = support_shared(sizeof(*newcomer));
	newcomer->arrive = arrive;
	pid = support_fork(be_newcomer, newcomer);
	while (!atomic_load(&newcomer->arrived))
		usleep(50);
	return pid;
}

void scene_newcomer_leaves(pid_t newcomer)
{
	if (newcomer)
		support_kill(newcomer);
}

/* --- bytes --- */

/* Which processes have the first process slots, and which is the next one. */
bool scene_varies(size_t at)
{
	/* The numbers of checkpoints, whose file is not put back; how many survivors there were. */
	if (at >= offsetof(struct ma_header, captures) && at < offsetof(struct ma_header, filesystem))
		return true;
	return at >= MA_PROCESS_OFF - 8 && at < MA_PROCESS_OFF + 64 * sizeof(struct ma_process);
}

static bool is_held(const struct ma_lock *lock)
{
	return ma_load(&lock->word) & MA_LOCK_SLOT;
}

static bool so_often(bool at_it, int often)
{
	static int changes;

	changes = at_it ? changes + 1 : 0;
	if (changes < often)
		return false;
	changes = 0;
	return true;
}

bool scene_half_done(const char *bytes, size_t stream_stride, bool intents, int often)
{
	const struct ma_body *body = (const void *)(bytes + MA_PAGE);
	const struct ma_header *header = (const void *)bytes;
	const char *streams = bytes + ma_up(MA_PROCESS_OFF + header->param[MA_PARAM_PROCESSES] * sizeof(struct ma_process),
					    MA_LINE);
	bool at_it = is_held(&body->root_lock);

	for (size_t i = 0; i < 2; i++) {
		const struct ma_stream *st = (const void *)(streams + i * stream_stride);

		at_it |= is_held(&st->lock) && (!intents || ma_load(&st->intent_valid));
	}
	return so_often(at_it, often);
}

bool scene_half_grown(const char *bytes)
{
	const struct ma_body *body = (const void *)(bytes + MA_PAGE);

	return so_often(is_held(&body->length_lock), 2);
}

static void the_thread_is_gone(void *arg)
{
	(void)arg;
	crash_call_ends();
}

static void *just_end(void *arg)
{
	pthread_exit(arg);
}

/*
 * The library's key is older than this one, so its part of ending comes first. Another thread ends before, for the first one
 * makes libc load what it needs to unwind.
 */
void scene_watch_the_end(void *map, void (*use)(void *map))
{
	pthread_key_t key;
	pthread_t thread;

	g_assert_cmpint(pthread_create(&thread, NULL, just_end, NULL), ==, 0);
	pthread_join(thread, NULL);
	use(map);
	g_assert_cmpint(pthread_key_create(&key, the_thread_is_gone), ==, 0);
	pthread_setspecific(key, map);
}

void scene_end_thread(void *map)
{
	(void)map;
	pthread_exit(NULL);
}
