/* SPDX-License-Identifier: BSD-3-Clause */
/** @file
 * @brief The calls of libqalloc's kill sweep (qalloc.c), one for each path, and what prepares them.
 */
#ifndef MA_TESTS_CRASH_QALLOC_CALLS_H
#define MA_TESTS_CRASH_QALLOC_CALLS_H

#define CRASH_CACHES (5 * MIB) /**< A thread caches runs of SCENE_LARGE in a map of this size. */

/** Each process's own. */
extern void *handle;

void nothing(void *map);
void take_64(void *map);
void take_64_often(void *map);
void take_marked(void *map);
void take_65(void *map);
void take_16_until_the_area_is_full(void *map);
void take_16(void *map);
void empty_the_second_area(void *map);
void take_a_million(void *map);
void take_1000(void *map);
void take_5000(void *map);
void take_large(void *map);
void leave_cached(void *map);
void leave_cached_in_gap(void *map);
void take_gap(void *map);
void take_over_bounds(void *map);
void take_large_marked(void *map);
void take_aligned(void *map);
void take_large_aligned(void *map);
void grow(void *map);
void grow_when_full(void *map);
void have_a_thread_take(void *map);
void free_scratch(void *map);
void free_prepared(void *map);
void free_remote(void *map);
void grow_scratch(void *map);
void fit_scratch(void *map);
void grow_large(void *map);
void shrink_large(void *map);
void set_new_root(void *map);
void set_lost_root(void *map);
void replace_root(void *map);
void remove_root(void *map);
void cas_new_root(void *map);
void cas_root(void *map);
void find_or_create(void *map);
void make_lock(void *map);
void make_lock_of_the_dead(void *map);
void lock_it(void *map);
void make_lock_and_lock_it(void *map);
void unlock_it(void *map);
void close_map(void *map);
void checkpoint(void *map);
void make_durable(void *map);
void checkpoint_and_take_64(void *map);
void take_64_and_capture(void *map);
void capture(void *map);
void commit(void *map);
void cleanup(void *map);
void load(void *map);
void create(void *map);
void create_static(void *map);
void watch_the_end(void *map);

#endif /* MA_TESTS_CRASH_QALLOC_CALLS_H */
