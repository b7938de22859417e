// SPDX-License-Identifier: BSD-3-Clause
//
// <mmalloc.hpp> in one process: heaps as objects, names, containers, errors, full heaps, pmr. Prints its own TAP.
#include "tests/mmalloc/cxx.hpp"

#include <cstring>

#include <fcntl.h>

static const std::string long_text(100, 'x');

static void moves()
{
	const scratch a("a"), b("b");
	ma::heap none, one = ma::heap::make(a.path()), two = ma::heap::make(b.path());
	void *const handle = one.handle(), *const other = two.handle();

	ok(!none && none.handle() == nullptr && one && handle != other, "no heap, and two");
	none = std::move(one);
	ok(none.handle() == handle && !one, "moved by assignment");
	none = std::move(two);
	ok(none.handle() == other && mmalloc_gettag(handle) == 0 && errno == EBADF, "assignment closes what was there");
	ma::heap last(std::move(none));
	ok(last.handle() == other && !none, "moved by construction");
	ma::heap &same = last;
	last = std::move(same);
	ok(last.handle() == other, "moved to itself");
	swap(last, none);
	ok(none.handle() == other && !last, "swapped");
	none.close();
	ok(!none && thrown([&] { none.close(); }) == 0, "closed, and closed again");
	static_assert(!std::is_copy_constructible_v<ma::heap> && std::is_nothrow_move_constructible_v<ma::heap>);
	static_assert(!std::is_default_constructible_v<ma::allocator<int>>);
}

static void two_objects_of_one_file()
{
	const scratch s("twice");
	ma::heap first = ma::heap::make(s.path()), second = ma::heap::open(s.path());
	auto *numbers = first.construct<ma::vector<int>>("numbers");

	ok(first.handle() == second.handle() && numbers->get_allocator() == second.get_allocator(),
	   "one file, one handle");
	first.close();
	numbers->assign(1000, 7);
	ok((*numbers)[999] == 7, "a container works while one of two objects is there");
	std::error_code ec;
	const int fd = ::open(s.path(), O_RDWR);
	void *const handle = mmalloc_attach(fd, nullptr);
	::close(fd);
	ma::heap third = ma::heap::adopt(handle, ec);
	second.close();
	numbers->assign(20000, 8);
	ok(!ec && (*numbers)[19999] == 8, "a descriptor of the C interface is adopted");
	ok(!ma::heap::adopt(nullptr, ec) && ec, "and NULL is an error");
	const auto own = third.get_allocator<int>();
	third.close();
	ok(own.handle() == nullptr && thrown([&] { ma::allocator<int>(own).allocate(1); }) == EBADF,
	   "EBADF: an allocator whose heap is closed");
}

struct plain {
	int a, b;
};

struct holder {
	using allocator_type = ma::allocator<std::byte>;

	explicit holder(const allocator_type &own) : text(own)
	{
	}
	holder(const char *words, const allocator_type &own) : text(words, own)
	{
	}
	ma::string text;
};

struct first_argument {
	using allocator_type = ma::allocator<std::byte>;

	first_argument(std::allocator_arg_t, const allocator_type &own, unsigned n) : numbers(n, 1, own)
	{
	}
	ma::vector<int> numbers;
};

struct alignas(256) wide {
	char bytes[300];
};

static void names()
{
	const scratch s("names");
	ma::heap file = ma::heap::make(s.path());

	ok(file.find<int>("none") == nullptr, "find: no such name");
	int *number = file.construct<int>("number", 42);
	ok(*number == 42 && file.find<int>("number") == number, "construct, find");
	ok(mmalloc_getroot(file.handle(), "number") == number, "C finds it too");
	ok(thrown([&] { file.construct<int>("number", 43); }) == EEXIST && *number == 42, "EEXIST: the name is taken");
	ok(file.find_or_construct<int>("number", 44) == number && *number == 42, "find_or_construct finds");
	ok(*file.find_or_construct<int>("other", 45) == 45, "find_or_construct constructs");
	plain *both = file.construct<plain>("plain", 1, 2), *zero = file.construct<plain>("zero");
	ok(both->a == 1 && both->b == 2 && zero->a == 0 && zero->b == 0, "aggregates");
	ok(file.construct<holder>("holder", "words")->text == "words", "an allocator as the last argument");
	ok(file.construct<first_argument>("first", 5)->numbers.size() == 5, "an allocator as the first argument");
	ok(reinterpret_cast<std::uintptr_t>(file.construct<wide>("wide")) % 256 == 0, "alignment of 256");
	ok(thrown([&] { file.find<unsigned>("number"); }) == EPROTOTYPE, "EPROTOTYPE: another type of that size");
	ok(thrown([&] { file.find<wide>("number"); }) == EPROTOTYPE, "EPROTOTYPE: another size");
	mmalloc_setroot(file.handle(), "c", mcalloc(file.handle(), 1, 64));
	ok(thrown([&] { file.find<int>("c"); }) == EPROTOTYPE, "EPROTOTYPE: a block of a C program");
	ok(thrown([&] { file.find_or_construct<unsigned>("number"); }) == EPROTOTYPE, "find_or_construct: EPROTOTYPE");
	ok(thrown([&] { file.destroy<unsigned>("number"); }) == EPROTOTYPE, "destroy: EPROTOTYPE");
	ok(file.destroy<int>("number") && !file.destroy<int>("number") && !file.find<int>("number"), "destroy, once");
	const std::string absurd(100, 'n');
	ok(thrown([&] { file.construct<int>(absurd.c_str()); }) == EINVAL, "construct: EINVAL for a long name");
	ok(thrown([&] { file.find<int>(""); }) == EINVAL, "find: EINVAL for an empty name");
}

static int alive;

struct counted {
	using allocator_type = ma::allocator<std::byte>;

	explicit counted(bool fails, const allocator_type &own) : text(long_text.c_str(), own)
	{
		if (fails)
			throw std::runtime_error("the constructor failed");
		alive++;
	}
	~counted()
	{
		alive--;
	}
	ma::string text;
};

// While its object is constructed, another caller takes the name.
struct late : counted {
	late(ma::heap &file, bool again, const allocator_type &own) : counted(false, own)
	{
		if (again)
			file.construct<late>("late", file, false);
	}
};

static void exceptions()
{
	const scratch s("exceptions");
	ma::heap file = ma::heap::make(s.path());
	file.get_allocator(); // Makes the anchor.
	const std::uint64_t before = used_blocks(file);
	bool caught = false;

	try {
		file.find_or_construct<counted>("counted", true);
	} catch (const std::runtime_error &e) {
		caught = std::strcmp(e.what(), "the constructor failed") == 0;
	}
	ok(caught && !file.find<counted>("counted") && used_blocks(file) == before,
	   "a constructor that throws leaves nothing");
	late *object = file.find_or_construct<late>("late", file, true);
	ok(object == file.find<late>("late") && alive == 1, "another caller was first: its object is returned");
	ok(used_blocks(file) == before + 2, "and all of the own one is freed");
	ok(file.destroy<late>("late") && alive == 0 && used_blocks(file) == before, "destroy frees all");
	std::error_code ec;
	ok(!file.construct<late>(ec, "late", file, true) && ec.value() == EEXIST && alive == 1,
	   "construct: EEXIST, late");
	file.destroy<late>("late");
	counted *alone = file.create<counted>(false);
	ok(alive == 1 && alone->text == long_text.c_str() && used_blocks(file) == before + 2, "create: no name");
	void *seen = nullptr;
	ok(mmalloc_casroot(file.handle(), "published", &seen, alone) == 1 && file.find<counted>("published") == alone,
	   "a name later");
	mmalloc_setroot(file.handle(), "published", nullptr);
	file.dispose(alone);
	file.dispose<counted>(nullptr);
	ok(alive == 0 && used_blocks(file) == before, "dispose");
}

static void errors_of_opening()
{
	const scratch s("opening"), wrong("wrong");
	std::error_code ec = std::make_error_code(std::errc::io_error);

	ok(thrown([&] { ma::heap::open(s.path()); }) == ENOENT, "open: ENOENT");
	ok(!ma::heap::open(s.path(), 0, ec) && ec == std::errc::no_such_file_or_directory, "the same as a code");
	try {
		ma::heap::open(s.path());
	} catch (const std::system_error &e) {
		ok(std::strstr(e.what(), s.path()) != nullptr, "what() names the file");
	}
	mmalloc_options options{};
	options.flags = ~0u;
	ok(thrown([&] { ma::heap::make(s.path(), options); }) == EINVAL, "make: EINVAL");
	ok(!ma::heap::make(s.path(), options, ec) && ec.value() == EINVAL, "the same as a code");
	options.flags = 0;
	std::FILE *const garbage = std::fopen(wrong.path(), "w");
	std::fputs("no heap", garbage);
	std::fclose(garbage);
	ok(thrown([&] { ma::heap::open(wrong.path()); }) == EMEDIUMTYPE, "open: EMEDIUMTYPE");
	ma::heap file = ma::heap::make(s.path(), options, ec);
	ok(file && !ec, "success clears the code");
	ok(thrown([&] { ma::heap::open(s.path(), MMALLOC_RDONLY); }) == EBUSY, "open: EBUSY");
	file.construct<ma::string>("text", "words");
	file.close(ec);
	ok(!ec && !file, "close");
	ma::heap none;
	ok(thrown([&] { none.construct<int>("x"); }) == EBADF && thrown([&] { none.find<int>("x"); }) == EBADF &&
		   thrown([&] { none.create<int>(); }) == EBADF &&
		   thrown([&] { none.find_or_construct<int>("x"); }) == EBADF &&
		   thrown([&] { none.sync(); }) == EBADF && thrown([&] { none.get_allocator(); }) == EBADF,
	   "EBADF without a heap");
	file = ma::heap::open(s.path(), MMALLOC_RDONLY);
	ma::string *text = file.find<ma::string>("text");
	ok(text && *text == "words", "read-only: find and read");
	ok(thrown([&] { file.construct<int>("x"); }) == EROFS &&
		   thrown([&] { file.destroy<ma::string>("text"); }) == EROFS,
	   "EROFS");
	ok(thrown([&] { text->get_allocator().allocate(1); }) == EROFS, "EROFS of an allocator");
	file.close();
	file = ma::heap::open(s.path());
	file.sync();
	ok(file.find<ma::string>("text") && used_blocks(file) > 0, "sync");
}

static void full()
{
	const scratch s("full");
	mmalloc_options options{};

	options.reserve = 4 << 20;
	ma::heap file = ma::heap::make(s.path(), options);
	auto *texts = file.construct<ma::list<ma::string>>("texts");
	bool bad_alloc = false;

	try {
		for (;;)
			texts->emplace_back(1000, 'f');
	} catch (const std::bad_alloc &e) {
		bad_alloc = std::strstr(e.what(), "ENOMEM") != nullptr;
	}
	ok(bad_alloc && texts->size() > 500, "std::bad_alloc when the heap is full, with a sentence");
	ok(thrown([&] { file.construct<std::array<char, 100000>>("more"); }) == ENOMEM &&
		   !mmalloc_getroot(file.handle(), "more"),
	   "construct: ENOMEM");
	bool too_many = false;
	try {
		file.get_allocator<double>().allocate(static_cast<std::size_t>(-1) / 4);
	} catch (const std::bad_array_new_length &) {
		too_many = true;
	}
	ok(too_many, "std::bad_array_new_length");
	const std::uint64_t before = used_blocks(file);
	texts->clear();
	ok(used_blocks(file) < before / 100 && mmalloc_check(file.handle(), nullptr, nullptr) == 0, "all is freed");
	texts->emplace_back(5000, 'f');
	ok(texts->back().size() == 5000, "and there is room again");
}

static void of_two_heaps()
{
	const scratch a("one"), b("two");
	ma::heap one = ma::heap::make(a.path()), two = ma::heap::make(b.path());
	auto *from = one.construct<ma::vector<ma::string>>("v"), *to = two.construct<ma::vector<ma::string>>("v");

	from->emplace_back(long_text.c_str());
	*to = *from;
	ok(to->get_allocator() == two.get_allocator() && (*to)[0].get_allocator() == two.get_allocator(),
	   "assignment copies into the heap of the target");
	to->clear();
	*to = std::move(*from);
	one.close();
	ok((*to)[0] == long_text.c_str() && mmalloc_usable_size(two.handle(), to->data()) != 0 &&
		   mmalloc_usable_size(two.handle(), (*to)[0].data()) != 0,
	   "so does a move");
	ok(two.get_allocator() == ma::allocator<int>(two.get_allocator<char>()), "allocators of one heap are equal");
}

static void in_memory()
{
	ma::heap memory = ma::heap::attach(-1);
	auto *numbers = memory.construct<ma::list<int>>("numbers");

	for (int i = 0; i < 100; i++)
		numbers->push_back(i);
	ok(numbers->size() == 100 && used_blocks(memory) == 102, "memory of this process alone");
	std::error_code ec;
	ok(!ma::heap::attach(1 << 20, {}, ec) && ec.value() == EBADF, "attach: EBADF");
	ok(thrown([&] { ma::heap::attach(1 << 20); }) == EBADF, "the same, thrown");
}

static void pmr()
{
#if __has_include(<memory_resource>)
	const scratch s("pmr");
	ma::heap file = ma::heap::make(s.path());
	const std::uint64_t before = used_blocks(file);
	{
		ma::resource in(file);
		std::pmr::vector<std::pmr::string> words(&in);

		words.emplace_back(long_text.c_str());
		ok(mmalloc_usable_size(file.handle(), words[0].data()) != 0, "pmr: in the heap");
		void *const block = in.allocate(100, 1024);
		ok(reinterpret_cast<std::uintptr_t>(block) % 1024 == 0, "pmr: alignment");
		in.deallocate(block, 100, 1024);
		bool bad_alloc = false;
		try {
			words.emplace_back(std::size_t(1) << 50, 'p');
		} catch (const std::bad_alloc &) {
			bad_alloc = true;
		}
		ok(bad_alloc && in == in && !(in == *std::pmr::get_default_resource()),
		   "pmr: std::bad_alloc, equality");
	}
	ok(used_blocks(file) == before, "pmr: all comes back");
#else
	ok(true, "pmr # SKIP this standard library has no <memory_resource>");
#endif
}

int main()
{
	moves();
	two_objects_of_one_file();
	names();
	exceptions();
	errors_of_opening();
	full();
	of_two_heaps();
	in_memory();
	pmr();
	return finish();
}
