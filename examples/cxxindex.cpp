/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cxxindex FILE add NAME...: count the words of these texts, in a map that many processes use at once.
 * cxxindex FILE show: print what is there.
 *
 * A text's words are built where no other process looks. Then one insertion under a lock makes them visible.
 */
#include <qalloc.hpp>

#include <fstream>
#include <iostream>

namespace ma = mapalloc::qalloc;

/* [types] */
using words = ma::ordered_map<ma::string, unsigned>;

struct index_of_texts {
	using allocator_type = ma::allocator<std::byte>; /* So construct() passes one. */

	explicit index_of_texts(const allocator_type &own) : texts(own)
	{
	}
	ma::lock_word lock{};
	bool changing = false;                      /* True only while texts is changed. */
	ma::ordered_map<ma::string, words *> texts; /* By name. */
};
/* [types] */

static words *count(ma::map &file, const char *name)
{
	words *const made = file.create<words>();
	std::ifstream text(name);

	for (std::string word; text >> word;) {
		const auto there = made->find(word);

		if (there == made->end())
			made->emplace(word, 1u);
		else
			there->second++;
	}
	return made;
}

/* [lock] */
static bool add(ma::map &file, index_of_texts &index, const char *name)
{
	words *made = count(file, name), *old = nullptr;
	ma::lock_ref lock(file, index.lock);
	const std::lock_guard<ma::lock_ref> guard(lock);

	if (lock.owner_died() && index.changing)
		return false; /* Killed inside emplace(): the tree may be half changed. */
	index.changing = true;
	const auto [place, is_new] = index.texts.emplace(name, made);
	if (!is_new)
		old = std::exchange(place->second, made);
	index.changing = false;
	file.dispose(old);
	return true;
}
/* [lock] */

static void show(const index_of_texts &index)
{
	for (const auto &[name, text] : index.texts) {
		unsigned all = 0;

		for (const auto &word : *text)
			all += word.second;
		std::cout << name << ": " << text->size() << " different words of " << all << "\n";
	}
}

int main(int argc, char **argv)
{
	const std::string_view what = argc > 2 ? argv[2] : "";

	if (what != "add" && what != "show") {
		std::cerr << "usage: cxxindex FILE add NAME... | cxxindex FILE show\n";
		return 2;
	}
	try {
		/* [open] */
		ma::map file = ma::map::make(argv[1], 64 << 20);
		auto *index = file.find_or_construct<index_of_texts>("index");
		/* [open] */

		for (int i = 3; what == "add" && i < argc; i++)
			if (!add(file, *index, argv[i])) {
				std::cerr << argv[1]
					  << ": a process was killed while it changed the index; make a new file\n";
				return 1;
			}
		if (what == "show") {
			ma::lock_ref lock(file, index->lock);
			const std::lock_guard<ma::lock_ref> guard(lock);
			show(*index);
		}
	} catch (const std::exception &e) {
		std::cerr << e.what() << "\n";
		return 1;
	}
	return 0;
}
