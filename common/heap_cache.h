/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Cached runs. When a thread frees a run, the run stays in one piece: a compare-exchange changes its word from RUN to CACHED, and
 * the thread records where the run is. Its next malloc of the same number of chunks changes the word back. Neither takes a lock.
 *
 * The word alone says that the run is free. It names no thread: any thread that finds a CACHED word may allocate the run, by a
 * compare-exchange from exactly that word. So the thread's record is a hint, and a kill loses nothing. ma_cache_collect() turns all
 * cached runs of a stream into free chunks. The library calls it once per second, when a malloc finds no room, and when space
 * returns to the disk.
 *
 * The collection reads the words of the whole range. The stream's word `cached` says whether there may be a cached run. A free
 * sets it before the word of the run changes, and checks it again after that, because a collection may have begun in between.
 */
#ifndef MA_HEAP_CACHE_H
#define MA_HEAP_CACHE_H

#include "common/heap_internal.h"

/* A run of so many chunks, MA_CACHED_RUN at most, that this thread freed; MA_NO_CHUNK. It takes no lock, as the next one. */
uint64_t ma_cache_take(struct ma_tcache *tc, uint64_t count);
/* Free the run of this word into the cache. False: not done, it must be given back to the free chunks. */
bool ma_cache_put(struct ma_tcache *tc, uint64_t head, uint64_t word);
/* Turn the cached runs of all threads in the stream into free chunks. The caller holds the lock. True: at least one was cached. */
bool ma_cache_collect(struct ma_image *map, uint32_t stream);
/* The same for those of this thread. */
void ma_cache_empty(struct ma_tcache *tc);

#endif /* MA_HEAP_CACHE_H */
