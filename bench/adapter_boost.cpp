/* SPDX-License-Identifier: BSD-3-Clause */
/* Boost.Interprocess, managed_mapped_file: the usual way to share a heap of a file between
 * processes. */
#include <boost/interprocess/managed_mapped_file.hpp>
#include <new>

#define AD_TRAITS (AD_FILE | AD_AGAIN | AD_SHARED)

namespace bi = boost::interprocess;
typedef bi::managed_mapped_file *ad_heap;

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	try {
		return new bi::managed_mapped_file(bi::create_only, path, bytes);
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static ad_heap ad_open(const char *path)
{
	try {
		return new bi::managed_mapped_file(bi::open_only, path);
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static void ad_close(ad_heap heap)
{
	delete heap;
}

static inline void *ad_malloc(ad_heap heap, size_t size)
{
	return heap->allocate(size, std::nothrow);
}

static inline void ad_free(ad_heap heap, void *block)
{
	if (block != nullptr)
		heap->deallocate(block);
}

#include "runner.h"
