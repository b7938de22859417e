/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads grow a map while others ask how long it is. What a thread is told never becomes less: else it would take what lies behind for free,
 * although it is in use.
 */
#include <pthread.h>

#include "common/space.h"
#include "tests/support/support_qalloc.h"
#include "tests/support/support_trap.h"

/* The source itself, with a stop before it takes the mutex. */
static int stop_and_trylock(pthread_mutex_t *mutex);
#define pthread_mutex_trylock stop_and_trylock
#define ma_image_measure      measure_and_stop
#include "common/image_length.c" /* NOLINT */
#undef pthread_mutex_trylock
#undef ma_image_measure

#define GROWERS 2
#define THREADS 4
#define STEP    (64 * KIB)
#define STEPS   400
#define ROUNDS  5

static void *map;

/* Once: meanwhile the map grows, and another thread learns of it. */
static bool stops;

static int stop_and_trylock(pthread_mutex_t *mutex)
{
	if (stops)
		g_assert_cmpint(qalloc_grow(map, 3 * MIB), ==, 0);
	stops = false;
	return pthread_mutex_trylock(mutex);
}

/* A thread that comes late does not put back what it had found. */
static void comes_late(void)
{
	struct ma_image *image;
	uint64_t end;

	image = map = support_dyn(support_path("late"), MIB, 1);
	g_assert_cmpint(qalloc_grow(map, 2 * MIB), ==, 0);
	ma_store(&image->known.length, 0); /* There is news. */
	stops = true;
	measure_and_stop(image);
	g_assert_false(stops);
	end = ma_user_end(image);
	g_assert_cmpuint(ma_load(&image->known.bytes), ==, 3 * MIB);
	g_assert_cmpuint(ma_load(&image->known.user_end), ==, end);
	support_close(map);
}

/* ---- fork children ---- */

static int comes_late_in_child(void *arg)
{
	struct ma_image *image = arg;

	ma_store(&image->known.length, 0);
	stops = true;
	measure_and_stop(image);
	g_assert_false(stops);
	g_assert_cmpuint(ma_load(&image->known.bytes), ==, 3 * MIB);
	g_assert_cmpuint(ma_image_length(image), ==, 3 * MIB);
	return 0;
}

/* The child of a process that knows 2 MiB: the map grows while it stands there. Then its parent learns of it. */
static void late_children(void)
{
	struct ma_image *image;

	image = map = support_dyn(support_path("late-child"), MIB, 1);
	g_assert_cmpint(qalloc_grow(map, 2 * MIB), ==, 0);
	support_run_child(comes_late_in_child, image);
	measure_and_stop(image);
	g_assert_cmpuint(ma_user_end(image), ==, ma_user_end_at(image, 3 * MIB));
	g_assert_cmpuint(ma_load(&image->known.bytes), ==, 3 * MIB);
	support_close(map);
}

/* After fork's own handlers copied the map for the child, as another thread's would: the copy keeps its length, the parent's grows. */
static bool grows_at_fork;

static void grow_at_fork(void)
{
	if (grows_at_fork)
		g_assert_cmpint(ma_space_grow(map, 3 * MIB), ==, 0);
}

static int has_its_own(void *arg)
{
	struct ma_image *image = arg;

	measure_and_stop(image);
	g_assert_cmpuint(ma_image_length(image), ==, 2 * MIB);
	g_assert_cmpuint(ma_user_end(image), ==, ma_user_end_at(image, 2 * MIB));
	g_assert_cmpuint(ma_units(image), ==, ma_units_at(image, 2 * MIB));
	g_assert_cmpuint(ma_load(&image->known.bytes), ==, 2 * MIB);
	check_map(image);
	stops = true;
	ma_store(&image->known.length, 0);
	measure_and_stop(image); /* Its copy grows, too. */
	g_assert_cmpuint(ma_load(&image->known.bytes), ==, 3 * MIB);
	check_map(image);
	return 0;
}

static void copies(void)
{
	const char *path = support_path("copies");
	struct ma_image *image;

	support_close(support_dyn(path, MIB, 1));
	image = map = qalloc_open(path, QALLOC_FORK_SNAPSHOT);
	g_assert_nonnull(map);
	g_assert_cmpint(qalloc_grow(map, 2 * MIB), ==, 0);
	grows_at_fork = true;
	support_run_child(has_its_own, image);
	grows_at_fork = false;
	g_assert_cmpuint(ma_image_length(image), ==, 3 * MIB);
	check_map(map);
	support_close(map);
}

static bool is_known(const struct ma_image *image)
{
	return ma_image_is_known(image, ma_load(&image->header->length));
}

static int grow_to_3_mib(void *arg)
{
	return qalloc_grow(arg, 3 * MIB);
}

/* A call computes what follows from the length only once: after a growth of its own process, or of another one. */
static void is_computed_once(void)
{
	struct ma_image *image;

	image = map = support_dyn(support_path("once"), MIB, 1);
	g_assert_cmpint(ma_space_grow(image, 2 * MIB), ==, 0);
	g_assert_true(is_known(image));
	support_run_child(grow_to_3_mib, map);
	g_assert_false(is_known(image));
	for (unsigned i = 0; i < 1000; i++)
		g_assert_nonnull(qalloc_malloc(map, 1024));
	g_assert_true(is_known(image));
	support_close(map);
}

static void grow(void)
{
	for (uint64_t i = 1; i <= STEPS; i++)
		qalloc_grow(map, MIB + i * STEP); /* EINVAL: the other one was faster. */
}

/* Between any two instructions of a growth: a thread that asks again has the answer of one that knows what the header says. */
static bool differs;

static void has_one_answer(int sig)
{
	const struct ma_image *image = map;
	uint64_t said = ma_load(&image->header->length);

	(void)sig;
	if (ma_image_believe(image, said) != said)
		differs = true;
}

static void one_answer(void)
{
	map = support_dyn(support_path("answers"), MIB, 1);
	if (support_trap_begin(has_one_answer)) {
		support_trap_on();
		qalloc_grow(map, 2 * MIB);
		support_trap_off();
	}
	g_assert_false(differs);
	support_close(map);
}

static _Atomic unsigned growing;

static void watch(void)
{
	const struct ma_image *image = map;
	uint64_t end = 0, units = 0, length = 0;

	while (atomic_load(&growing)) {
		uint64_t end_now = ma_user_end(image), units_now = ma_units(image), length_now = ma_image_length(image);

		g_assert_cmpuint(end_now, >=, end);
		g_assert_cmpuint(units_now, >=, units);
		g_assert_cmpuint(length_now, >=, length);
		end = end_now, units = units_now, length = length_now;
	}
}

static void thread(struct support_thread *self)
{
	if (self->index >= GROWERS) {
		watch();
		return;
	}
	grow();
	atomic_fetch_sub(&growing, 1);
}

static void never_less(void)
{
	for (unsigned round = 0; round < support_scale(ROUNDS); round++) {
		const char *path = support_path("length");

		map = support_dyn(path, MIB, 1);
		atomic_store(&growing, GROWERS);
		support_threads(THREADS, thread, NULL);
		g_assert_cmpuint(support_stats(map).file_bytes, ==, MIB + STEPS * STEP);
		support_close(map);
		unlink(path);
	}
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	pthread_atfork(grow_at_fork, NULL, NULL); /* Before the library's: so it is called after that. */
	support_add("/common/length/comes-late", comes_late);
	support_add("/common/length/late-children", late_children);
	support_add("/common/length/copies", copies);
	support_add("/common/length/one-answer", one_answer);
	support_add("/common/length/never-less", never_less);
	support_add("/common/length/is-computed-once", is_computed_once);
	return support_run();
}
