// SPDX-License-Identifier: BSD-3-Clause
//
// <xmemory.hpp>: the allocator and the memory_resource, within the budget and beyond it. Prints its own TAP.
#include <xmemory.hpp>
#define XMEMORY_NO_SHIMS
#include <xmemory.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace mx = mapalloc::xmemory;

static int tests, failures;

static void ok(bool good, const char *what)
{
	if (!good)
		failures++;
	std::printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	std::fflush(stdout);
}

static std::uint64_t live()
{
	struct xmemory_stats s;

	xmemory_stats(&s);
	return s.pointers;
}

static void allocators()
{
	const std::uint64_t before = live();
	{
		std::vector<int, mx::allocator<int>> numbers(1000, 3);

		ok(xmemory_kind(numbers.data()) == XMEMORY_RAM && live() == before + 1,
		   "allocator: a block of libxmemory");
	}
	ok(live() == before, "allocator: it comes back");
}

#if __has_include(<memory_resource>)
static int is_from_resource(const xmemory_leak *leak, void *found)
{
	*static_cast<bool *>(found) |= std::strcmp(leak->file, "xmemory::resource") == 0;
	return 0;
}

static void resources()
{
	const std::uint64_t before = live();
	mx::resource memory, other;
	{
		std::pmr::vector<std::pmr::vector<int>> table(&memory);
		bool found = false;

		table.emplace_back(1000, 7);
		ok(xmemory_kind(table[0].data()) == XMEMORY_RAM && live() == before + 2,
		   "resource: nested pmr containers");
		xmemory_leaks(is_from_resource, &found);
		ok(found, "resource: its name in xmemory_leaks()");
		xmemory_setlimit(1);
		table.emplace_back(1000000, 8);
		ok(xmemory_kind(table[1].data()) == XMEMORY_VMFILE && table[1][999999] == 8,
		   "resource: over budget, a VM file");
		xmemory_setlimit(0);
	}
	ok(live() == before, "resource: all comes back");
	ok(memory == other && !(memory == *std::pmr::new_delete_resource()), "resource: equality");
	void *const wide = memory.allocate(100, 4096);
	ok(reinterpret_cast<std::uintptr_t>(wide) % 4096 == 0, "resource: alignment");
	other.deallocate(wide, 100, 4096);
	bool bad_alloc = false;
	volatile std::size_t absurd = SIZE_MAX / 2;
	try {
		other.deallocate(memory.allocate(absurd), absurd);
	} catch (const std::bad_alloc &) {
		bad_alloc = true;
	}
	ok(bad_alloc && live() == before, "resource: std::bad_alloc");
}
#endif

int main()
{
	allocators();
#if __has_include(<memory_resource>)
	resources();
#else
	ok(true, "resource # SKIP this standard library has no <memory_resource>");
#endif
	std::printf("1..%d\n", tests);
	return failures != 0;
}
