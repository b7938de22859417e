/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Boost.Interprocess, managed_mapped_file: the usual way to share a heap of a file between processes. With BENCH_SHM
 * managed_shared_memory: the same heap in POSIX shared memory.
 */
#ifndef BENCH_ADAPTER_BOOST_H
#define BENCH_ADAPTER_BOOST_H

#ifdef BENCH_SHM
#include <boost/interprocess/managed_shared_memory.hpp>
typedef boost::interprocess::managed_shared_memory boost_heap;
#else
#include <boost/interprocess/managed_mapped_file.hpp>
typedef boost::interprocess::managed_mapped_file boost_heap;
#endif
#include <new>

typedef boost_heap *ad_heap;

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	return heap->allocate(size, std::nothrow);
}

static inline void ad_free(ad_heap heap, void *block)
{
	if (block != nullptr)
		heap->deallocate(block);
}

#endif /* BENCH_ADAPTER_BOOST_H */
