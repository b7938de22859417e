/* SPDX-License-Identifier: BSD-3-Clause */
/* Boost.Interprocess, managed_shared_memory: the same heap as in a mapped file, in POSIX shared memory. */
#include <boost/interprocess/managed_shared_memory.hpp>
#include <new>
#include <string>
#include <sys/stat.h>

#define AD_TRAITS (AD_FILE | AD_AGAIN | AD_SHARED)
#define AD_SPACE  1

namespace bi = boost::interprocess;
typedef bi::managed_shared_memory *ad_heap;

/* The heap's folder is for one run of bench alone; so is its name, under which bench removes what a crash leaves. */
static std::string name_of(const char *path)
{
	std::string folder(path);

	folder.resize(folder.rfind('/'));
	return folder.substr(folder.rfind('/') + 1);
}

static ad_heap ad_create(const char *path, uint64_t bytes)
{
	try {
		bi::shared_memory_object::remove(name_of(path).c_str());
		return new bi::managed_shared_memory(bi::create_only, name_of(path).c_str(), bytes);
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static ad_heap ad_open(const char *path)
{
	try {
		return new bi::managed_shared_memory(bi::open_only, name_of(path).c_str());
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static void ad_close(ad_heap heap)
{
	delete heap;
}

static uint64_t ad_space(const char *path)
{
	struct stat status;

	return stat(("/dev/shm/" + name_of(path)).c_str(), &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
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
