// SPDX-License-Identifier: BSD-3-Clause
//
// <mmalloc.hpp> in several processes: containers that others change and find after a restart, objects that several construct at once,
// constructors that are killed, locks whose holders are killed, forks. Prints its own TAP.
#include "tests/mmalloc/cxx.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include <sys/mman.h>

using namespace std::chrono_literals;

using words = ma::vector<ma::string>;
using book = ma::ordered_map<ma::string, words>;
using counts = ma::unordered_map<ma::string, int>;
using chain = ma::list<ma::string>;
using names = ma::set<ma::string>;

static std::string key(int i)
{
	return "a key that is too long for a string to hold in itself " + std::to_string(i);
}

static void fill(ma::heap &file, int from, int to)
{
	book &pages = *file.find_or_construct<book>("index");
	counts &lengths = *file.find_or_construct<counts>("counts");
	chain &order = *file.find_or_construct<chain>("chain");
	names &all = *file.find_or_construct<names>("names");
	const auto own = file.get_allocator();

	for (int i = from; i < to; i++) {
		const std::string text = key(i);

		pages[ma::string(text, own)].emplace_back(text);
		pages.find(text)->second.emplace_back("short");
		lengths.emplace(text, i);
		order.emplace_back(text);
		all.emplace(text);
	}
}

static bool is_filled(ma::heap &file, int to)
{
	book *pages = file.find<book>("index");
	counts *lengths = file.find<counts>("counts");
	chain *order = file.find<chain>("chain");
	names *all = file.find<names>("names");
	const auto size = static_cast<std::size_t>(to);
	int next = 0;

	if (!pages || !lengths || !order || !all || pages->size() != size || lengths->size() != size ||
	    all->size() != size)
		return false;
	for (const ma::string &text : *order) {
		const auto page = pages->find(text);

		if (text != key(next).c_str() || page == pages->end() || page->second.size() != 2 ||
		    page->second[0] != text || lengths->at(text) != next || all->count(text) != 1)
			return false;
		next++;
	}
	return next == to;
}

static void containers()
{
	const scratch s("containers");

	ok(in_child([&] {
		   ma::heap file = ma::heap::make(s.path());
		   fill(file, 0, 500);
		   return 0;
	   }) == 0,
	   "a process fills containers of five sorts");
	ma::heap file = ma::heap::open(s.path());
	ok(is_filled(file, 500), "this process finds them");
	fill(file, 500, 600);
	ok(in_child([&] { return is_filled(file, 600) ? 0 : 1; }) == 0,
	   "a fork child finds what was added, through its parent's heap");
	ok(in_child([&] {
		   fill(file, 600, 1000);
		   return 0;
	   }) == 0 &&
		   is_filled(file, 1000),
	   "and its parent what the child added");
	file.close();
	file = ma::heap::open(s.path());
	ok(is_filled(file, 1000), "after a restart");
	file.destroy<book>("index");
	file.destroy<counts>("counts");
	file.destroy<chain>("chain");
	file.destroy<names>("names");
	ok(used_blocks(file) == 1 && mmalloc_check(file.handle(), nullptr, nullptr) == 0,
	   "all is freed but the anchor");
}

// The heap was opened before another process made the anchor.
static void late_anchor()
{
	const scratch s("anchor");
	ma::heap file = ma::heap::make(s.path());

	in_child([&] {
		ma::heap other = ma::heap::open(s.path());
		return other.construct<words>("words") ? 0 : 1;
	});
	words *found = file.find<words>("words");
	found->emplace_back(key(1));
	ok(found->back() == key(1).c_str(), "a container whose process opened the heap later");
}

struct shared {
	std::atomic<int> at, go, constructed;
};

static shared *area()
{
	void *const place = mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return ::new (place) shared();
}

// An object whose constructor stops half-way.
struct slow {
	using allocator_type = ma::allocator<std::byte>;

	slow(shared *between, bool stops, const allocator_type &own) : text(key(1), own), magic(1)
	{
		between->at = 1;
		while (stops && !between->go)
			std::this_thread::sleep_for(1ms);
		between->constructed++;
		magic = 42;
	}
	ma::string text;
	int magic;
};

static void killed_constructor()
{
	const scratch s("killed");
	shared *const between = area();
	ma::heap file = ma::heap::make(s.path());
	file.get_allocator();
	const std::uint64_t before = used_blocks(file);
	const pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		file.find_or_construct<slow>("slow", between, true);
		_exit(0);
	}
	while (!between->at)
		std::this_thread::sleep_for(1ms);
	ok(!file.find<slow>("slow"), "an object is not found while it is constructed");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ok(WIFSIGNALED(status) && !file.find<slow>("slow"), "nor when its constructor was killed");
	ok(used_blocks(file) <= before + 2, "the block and what the constructor allocated stay, at most");
	slow *const made = file.find_or_construct<slow>("slow", between, false);
	ok(made->magic == 42 && made->text == key(1).c_str() && file.find<slow>("slow") == made,
	   "the next one constructs it");
	ok(mmalloc_check(file.handle(), nullptr, nullptr) == 0, "the heap is consistent");
}

static void race()
{
	const scratch s("race");
	shared *const between = area();
	ma::heap file = ma::heap::make(s.path());
	pid_t pids[8];
	bool good = true;

	file.get_allocator();
	const std::uint64_t before = used_blocks(file);
	for (pid_t &pid : pids)
		if ((pid = fork()) == 0) {
			slow *const mine = file.find_or_construct<slow>("slow", between, true);
			_exit(mine->magic == 42 && mine == file.find<slow>("slow") ? 0 : 1);
		}
	std::this_thread::sleep_for(50ms);
	between->go = 1;
	for (const pid_t pid : pids) {
		int status = 0;

		waitpid(pid, &status, 0);
		good = good && status == 0;
	}
	ok(good && between->constructed >= 1, "eight construct at once: all get one object");
	ok(used_blocks(file) == before + 2, "and those of the others are gone");
}

// Construct, look and destroy, until a kill.
static int restless(const char *path)
{
	ma::heap file = ma::heap::open(path);
	shared *const between = area();

	for (;;) {
		std::error_code ec;
		slow *const object = file.find_or_construct<slow>(ec, "slow", between, false);

		if (!object)
			return 1;
		if (file.destroy<slow>("slow", ec); ec)
			return 2;
	}
}

static void random_kills()
{
	const scratch s("kills");
	ma::heap file = ma::heap::make(s.path());
	shared *const between = area();
	unsigned delay = 1;
	int killed = 0;

	for (int i = 0; i < 40; i++) {
		const pid_t pid = fork();
		int status = 0;

		if (pid == 0)
			_exit(restless(s.path()));
		delay = delay * 1103515245u + 12345u;
		std::this_thread::sleep_for(std::chrono::microseconds(2000 + delay / 65536 % 3000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		killed += WIFSIGNALED(status);
		const slow *const object = file.find_or_construct<slow>("slow", between, false);
		if (object->magic != 42 || object->text != key(1).c_str())
			break;
		file.destroy<slow>("slow");
	}
	ok(killed == 40, "40 processes killed in construct and destroy: each object found is complete");
	ok(used_blocks(file) <= 1 + 40 * 2 && mmalloc_check(file.handle(), nullptr, nullptr) == 0,
	   "each leaves an object at most; the heap is consistent");
}

struct table {
	ma::lock_word lock;
	int value;
};

static void locks()
{
	const scratch s("locks");
	ma::heap file = ma::heap::make(s.path());
	table *const data = file.construct<table>("table");
	ma::lock_ref lock(file, data->lock);
	std::error_code ec;
	{
		std::unique_lock<ma::lock_ref> guard(lock);

		ok(guard && !lock.owner_died(), "std::unique_lock");
		ok(thrown([&] { ma::lock_ref(file, data->lock).lock(); }) == EDEADLK, "EDEADLK");
		ok(!lock.try_lock() && !lock.try_lock(ec) && !ec, "try_lock: this thread holds it");
		ok(in_child([&] {
			   ma::lock_ref other(file, data->lock);
			   const auto start = std::chrono::steady_clock::now();
			   const bool got = other.try_lock() || other.try_lock_for(20ms);

			   return !got && std::chrono::steady_clock::now() - start >= 20ms ? 0 : 1;
		   }) == 0,
		   "another process waits, and no longer than it wants");
	}
	ok(in_child([&] { return ma::lock_ref(file, data->lock).try_lock() ? 0 : 1; }) == 0, "and has it afterwards");
	lock.lock();
	ok(lock.owner_died(), "that process ended with it: owner_died()");
	lock.unlock();
	ok(!lock.owner_died(), "after unlock it says no more");
	lock.unlock(ec);
	ok(ec.value() == EPERM, "EPERM: this thread does not hold it");
	ok(std::try_lock(lock, lock) == 1, "std::try_lock gives back what it took");
	ok(lock.try_lock_until(std::chrono::system_clock::now() + 10s), "try_lock_until, by another clock");
	lock.unlock();
	ok(lock.try_lock_for(std::chrono::hours(24 * 365 * 100)), "try_lock_for a century");
	lock.unlock();
	ma::lock_word outside{};
	ok(thrown([&] { ma::lock_ref(file, outside).lock(); }) == EINVAL, "EINVAL: no place for a lock");
	ma::lock_ref(file, outside).lock(ec);
	ok(ec.value() == EINVAL, "the same as a code");
}

// Each count is one round under the lock, which a killed process leaves half done now and then.
static int count(const char *path)
{
	ma::heap file = ma::heap::open(path);
	table *const data = file.find<table>("table");

	for (;;) {
		ma::lock_ref lock(file, data->lock);
		std::lock_guard<ma::lock_ref> guard(lock);

		if (data->value % 2 && !lock.owner_died())
			return 1;
		data->value |= 1;
		std::this_thread::yield();
		data->value++;
	}
}

static void killed_holders()
{
	const scratch s("holders");
	ma::heap file = ma::heap::make(s.path());
	table *const data = file.construct<table>("table");
	int died = 0, wrong = 0;

	for (int i = 0; i < 40; i++) {
		const pid_t pid = fork();
		int status = 0;

		if (pid == 0)
			_exit(count(s.path()));
		std::this_thread::sleep_for(5ms);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		wrong += !WIFSIGNALED(status);
		ma::lock_ref lock(file, data->lock);
		std::lock_guard<ma::lock_ref> guard(lock);
		died += lock.owner_died();
		wrong += data->value % 2 && !lock.owner_died();
		data->value += data->value % 2;
	}
	ok(died > 0 && wrong == 0, "killed holders: owner_died() says each time that data are half changed");
}

static void threads_and_forks()
{
	const scratch s("threads");
	ma::heap file = ma::heap::make(s.path());
	std::atomic<bool> stop{ false }, bad{ false };
	std::thread opener([&] {
		while (!stop) {
			ma::heap again = ma::heap::open(s.path());
			again.get_allocator();
		}
	});
	std::thread filler([&] {
		words *own = file.create<words>();
		while (!stop) {
			own->emplace_back(key(1));
			if (own->size() > 100)
				own->clear();
		}
		file.dispose(own);
	});

	for (int i = 0; i < 50; i++)
		if (in_child([&] {
			    words *own = ma::heap::open(s.path()).create<words>();
			    own->emplace_back(key(2));
			    return own->back() == key(2).c_str() ? 0 : 1;
		    }) != 0)
			bad = true;
	stop = true;
	opener.join();
	filler.join();
	ok(!bad, "forks while other threads open, close and allocate");
}

int main()
{
	containers();
	late_anchor();
	killed_constructor();
	race();
	random_kills();
	locks();
	killed_holders();
	threads_and_forks();
	return finish();
}
