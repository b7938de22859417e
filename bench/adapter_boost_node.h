/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Boost.Interprocess, blocks of one size in a mapped file: node_allocator, or with BENCH_CACHED cached_node_allocator. All
 * allocator objects of one file share its pool; a cache must not be used by two threads, so each lane has an object of its own.
 */
#ifndef BENCH_ADAPTER_BOOST_NODE_H
#define BENCH_ADAPTER_BOOST_NODE_H

#include <boost/interprocess/allocators/cached_node_allocator.hpp>
#include <boost/interprocess/allocators/node_allocator.hpp>
#include <boost/interprocess/managed_mapped_file.hpp>

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

#endif /* BENCH_ADAPTER_BOOST_NODE_H */
