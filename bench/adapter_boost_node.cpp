/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Boost.Interprocess, blocks of one size in a mapped file: node_allocator, or with BENCH_CACHED
 * cached_node_allocator. All allocator objects of one file share its pool; a cache must not be used by two threads, so
 * each lane has an object of its own.
 */
#include <boost/interprocess/allocators/cached_node_allocator.hpp>
#include <boost/interprocess/allocators/node_allocator.hpp>
#include <boost/interprocess/managed_mapped_file.hpp>

#define AD_TRAITS (AD_FIXED | AD_FILE | AD_AGAIN | AD_SHARED)
#define AD_LANE   1

namespace bi = boost::interprocess;

struct node {
	char bytes[64];
};

#ifdef BENCH_CACHED
typedef bi::cached_node_allocator<node, bi::managed_mapped_file::segment_manager> node_allocator;
#else
typedef bi::node_allocator<node, bi::managed_mapped_file::segment_manager> node_allocator;
#endif

struct node_heap {
	bi::managed_mapped_file *file;
	node_allocator allocator;

	explicit node_heap(bi::managed_mapped_file *of) : file(of), allocator(of->get_segment_manager())
	{
	}
};
typedef node_heap *ad_heap;

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	try {
		return new node_heap(new bi::managed_mapped_file(bi::create_only, path, bytes));
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static ad_heap ad_open(const char *path)
{
	try {
		return new node_heap(new bi::managed_mapped_file(bi::open_only, path));
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static ad_heap ad_lane(ad_heap heap)
{
	return new node_heap(heap->file);
}

/* The process ends soon. What is missing in the pool when the last object goes would be asserted on: leave it. */
static void ad_close(ad_heap heap)
{
	(void)heap;
}

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	(void)size;
	try {
		return &*heap->allocator.allocate_one();
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static inline void ad_free(ad_heap heap, void *block)
{
	if (block != nullptr)
		heap->allocator.deallocate_one(static_cast<node *>(block));
}

#include "runner.h"
