/* SPDX-License-Identifier: BSD-3-Clause */
/* Boost.Interprocess, managed_mapped_file, or with BENCH_SHM managed_shared_memory. */
#include "adapter_boost.h"

#include <string>
#include <sys/stat.h>

#include "adapter.h"

namespace bi = boost::interprocess;

#ifdef BENCH_SHM
/* The heap's folder is for one run of bench alone; so is its name, under which bench removes what a crash leaves. */
static std::string name_of(const char *path)
{
	std::string folder(path);

	folder.resize(folder.rfind('/'));
	return folder.substr(folder.rfind('/') + 1);
}

static uint64_t space(const char *path)
{
	struct stat status;

	return stat(("/dev/shm/" + name_of(path)).c_str(), &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}
#else
static std::string name_of(const char *path)
{
	return path;
}
#endif

static void *create(const char *path, uint64_t bytes)
{
	try {
#ifdef BENCH_SHM
		bi::shared_memory_object::remove(name_of(path).c_str());
#endif
		return new boost_heap(bi::create_only, name_of(path).c_str(), bytes);
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static void *open_again(const char *path)
{
	try {
		return new boost_heap(bi::open_only, name_of(path).c_str());
	} catch (const bi::interprocess_exception &) {
		return nullptr;
	}
}

static void close_heap(void *heap)
{
	delete static_cast<ad_heap>(heap);
}

#ifdef BENCH_SHM
const struct adapter adapter = {
	AD_FILE | AD_AGAIN | AD_SHARED, 0, create, open_again, close_heap, nullptr, space, nullptr
};
#else
const struct adapter adapter = {
	AD_FILE | AD_AGAIN | AD_SHARED, 0, create, open_again, close_heap, nullptr, nullptr, nullptr
};
#endif
