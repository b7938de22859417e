/* SPDX-License-Identifier: BSD-3-Clause */
/* Boost.Interprocess, blocks of one size in a mapped file. */
#include "adapter_boost_node.h"

#include "adapter.h"

static void *create(const char *path, uint64_t bytes)
{
	try {
		return new node_heap(new bi::managed_mapped_file(bi::create_only, path, bytes));
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static void *open_again(const char *path)
{
	try {
		return new node_heap(new bi::managed_mapped_file(bi::open_only, path));
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static void *lane(void *heap)
{
	return new node_heap(static_cast<ad_heap>(heap)->file);
}

/* The process ends soon. What is missing in the pool when the last object goes would be asserted on: leave it. */
static void leave(void *heap)
{
	(void)heap;
}

const struct adapter adapter = {
	AD_FIXED | AD_FILE | AD_AGAIN | AD_SHARED, 0, create, open_again, leave, lane, nullptr, nullptr
};
