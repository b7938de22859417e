// SPDX-License-Identifier: BSD-3-Clause
//
// C++: every form of operator new and delete, and containers, in blocks of libxmemory. Prints its own TAP. Also compiled by
// tests/install/shims with other compilers and standards.
#define XMEMORY_DEFINE_NEW
#include <xmemory-new.h>
#include <xmemory.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

static int tests, failures;

static void ok(bool good, const char *what)
{
	if (!good)
		failures++;
	std::printf("%sok %d - /xmemory/new-cxx/%s\n", good ? "" : "not ", ++tests, what);
	std::fflush(stdout);
}

static std::uint64_t live()
{
	struct xmemory_stats s;

	xmemory_stats(&s);
	return s.pointers;
}

static std::uint64_t warnings()
{
	struct xmemory_stats s;

	xmemory_stats(&s);
	return s.warnings;
}

// Compilers may leave out a pair of new and delete whose block nobody sees.
static void *volatile seen;

struct thing {
	int value;
	static int alive;

	explicit thing(int v = 1) : value(v)
	{
		alive++;
	}
	~thing()
	{
		alive--;
	}
};
int thing::alive;

static void plain()
{
	std::uint64_t before = live();
	thing *one = new thing(7), *many = new thing[100], *quiet = new (std::nothrow) thing(8);
	char *nothing = new char[0];

	for (void *block : { static_cast<void *>(one), static_cast<void *>(many), static_cast<void *>(quiet),
			     static_cast<void *>(nothing) })
		seen = block;
	ok(xmemory_kind(one) != XMEMORY_UNKNOWN && xmemory_size(one) == sizeof(thing), "new");
	ok(live() == before + 4 && thing::alive == 102, "new[], nothrow, no bytes");
	ok(one->value == 7 && quiet->value == 8 && nothing != nullptr, "constructed");
	delete one;
	delete[] many;
	delete quiet;
	delete[] nothing;
	delete static_cast<thing *>(nullptr);
	::operator delete(nullptr);
	ok(live() == before && thing::alive == 0, "delete");
	ok(warnings() == 0, "delete of NULL is no warning");
}

static void direct()
{
	std::uint64_t before = live();

	::operator delete(::operator new(10));
	::operator delete[](::operator new[](10));
	::operator delete(::operator new(10, std::nothrow), std::nothrow);
	::operator delete[](::operator new[](10, std::nothrow), std::nothrow);
#ifdef __cpp_sized_deallocation
	::operator delete(::operator new(10), std::size_t(10));
	::operator delete[](::operator new[](10), std::size_t(10));
#endif
	ok(live() == before, "each operator by its name");
}

#ifdef __cpp_aligned_new
static bool is_aligned(const void *ptr, std::size_t alignment)
{
	return reinterpret_cast<std::uintptr_t>(ptr) % alignment == 0;
}

struct alignas(256) wide {
	char bytes[300];
};

static void aligned()
{
	std::uint64_t before = live();
	const std::align_val_t a = static_cast<std::align_val_t>(4096);
	wide *one = new wide, *many = new wide[5], *quiet = new (std::nothrow) wide[3];

	ok(is_aligned(one, 256) && is_aligned(many, 256) && is_aligned(many + 1, 256) && is_aligned(quiet, 256),
	   "new and new[] with alignment");
	ok(xmemory_kind(one) != XMEMORY_UNKNOWN && live() == before + 3, "they are ours");
	delete one;
	delete[] many;
	delete[] quiet;
	void *page = ::operator new(10, a), *pages = ::operator new[](10, a, std::nothrow);
	ok(is_aligned(page, 4096) && is_aligned(pages, 4096), "a page's alignment");
	::operator delete(page, std::size_t(10), a);
	::operator delete[](pages, a, std::nothrow);
	::operator delete[](::operator new[](10, a), std::size_t(10), a);
	::operator delete(::operator new(10, a, std::nothrow), a, std::nothrow);
	::operator delete(::operator new(10, a), a);
	::operator delete[](::operator new[](10, a), a);
	ok(live() == before, "all are freed");
}
#endif

static void containers()
{
	std::uint64_t before = live();
	{
		std::vector<int> numbers(1000, 3);
		std::map<std::string, int> words;
		std::list<double> chain(50, 1.5);
		std::shared_ptr<thing> shared = std::make_shared<thing>(9);
		std::function<int()> f = [=] { return numbers[5] + int(numbers.size()); };

		for (int i = 0; i < 300; i++)
			words["a key that is too long for a string to hold in itself " + std::to_string(i)] = i;
		ok(xmemory_kind(numbers.data()) != XMEMORY_UNKNOWN, "std::vector is ours");
		ok(xmemory_kind(words.begin()->first.data()) != XMEMORY_UNKNOWN, "std::string too");
		ok(live() >= before + 300 + 300 + 50 + 1 && f() == 1003, "std::map, std::list, std::shared_ptr");
	}
	ok(live() == before, "their memory comes back");
}

template <class T> using ours = xmemory::allocator<T>;

static void one_container()
{
	std::uint64_t before = live();
	{
		std::vector<int, ours<int>> numbers;
		std::map<int, std::string, std::less<int>, ours<std::pair<const int, std::string>>> names;
		std::set<int, std::less<int>, ours<int>> set{ 3, 1, 2 };
		std::basic_string<char, std::char_traits<char>, ours<char>> text(500, 'x');

		for (int i = 0; i < 10000; i++)
			numbers.push_back(i);
		for (int i = 0; i < 100; i++)
			names[i] = "name";
		std::vector<int, ours<int>> copy(numbers), moved(std::move(numbers));
		ok(copy == moved && copy[9999] == 9999, "xmemory::allocator: copied and moved");
		ok(xmemory_kind(text.data()) != XMEMORY_UNKNOWN && xmemory_kind(&*set.begin()) == XMEMORY_UNKNOWN,
		   "xmemory::allocator: blocks of ours");
		ok(ours<int>() == ours<char>() && !(ours<int>() != ours<char>()), "allocators are equal");
	}
	ok(live() == before, "xmemory::allocator: all comes back");
}

static int handled;

static void handler()
{
	if (++handled == 3)
		std::set_new_handler(nullptr);
}

static bool throws_bad_alloc(std::size_t bytes)
{
	try {
		::operator delete(::operator new(bytes));
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

static void failures_of_new()
{
	volatile std::size_t absurd = SIZE_MAX / 2;

	std::set_new_handler(handler);
	ok(throws_bad_alloc(absurd) && handled == 3, "std::bad_alloc, after the new handler was called");
	ok(::operator new(absurd, std::nothrow) == nullptr, "nothrow gives NULL");
	bool thrown = false;
	try {
		ours<double>().allocate(absurd);
	} catch (const std::bad_alloc &) {
		thrown = true;
	}
	ok(thrown, "xmemory::allocator: a product that is too large");
}

static void beyond_the_budget()
{
	xmemory_setlimit(1);
	{
		std::vector<char> large(std::size_t(1) << 20, 'l');
		std::map<int, int> small;
		std::vector<double, ours<double>> mine(100000, 2.5);

		for (int i = 0; i < 1000; i++)
			small[i] = i;
		ok(xmemory_kind(large.data()) == XMEMORY_VMFILE, "over budget a std::vector is in a VM file");
		ok(xmemory_kind(mine.data()) == XMEMORY_VMFILE, "so is one of xmemory::allocator");
		struct xmemory_stats s;
		xmemory_stats(&s);
		ok(s.vm_bytes >= (1u << 20) + 800000 + 1000 * sizeof(int), "so are the nodes of a std::map");
		for (int i = 0; i < 1000; i++)
			if (small[i] != i)
				failures++;
	}
	struct xmemory_stats s;
	xmemory_stats(&s);
	ok(s.vm_bytes == 0, "and all of it is freed");
	xmemory_setlimit(0);
}

int main()
{
	plain();
	direct();
#ifdef __cpp_aligned_new
	aligned();
#endif
	containers();
	one_container();
	failures_of_new();
	beyond_the_budget();
	ok(warnings() == 0, "nothing was freed wrongly");
	std::printf("1..%d\n", tests);
	return failures != 0;
}
