/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of <mmalloc.hpp> share. They print their own TAP and need no GLib: tests/install/cxx also builds them with other
 * compilers, standards and standard libraries.
 */
#ifndef MA_TESTS_MMALLOC_CXX_HPP
#define MA_TESTS_MMALLOC_CXX_HPP

#include <mmalloc.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace ma = mapalloc::mmalloc;

inline int tests, failures;

inline void ok(bool good, const char *what)
{
	if (!good)
		failures++;
	std::printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	std::fflush(stdout);
}

inline int finish()
{
	std::printf("1..%d\n", tests);
	return failures != 0;
}

/* A file of this process; the file, if it is there, is removed now and at the end. */
class scratch
{
public:
	explicit scratch(const char *name)
	{
		const char *const dir = std::getenv("MA_TEST_DIR");

		path_ = std::string(dir ? dir : ".") + "/cxx-" + std::to_string(getpid()) + "-" + name;
		unlink(path());
	}
	~scratch()
	{
		unlink(path());
	}
	scratch(const scratch &) = delete;
	scratch &operator=(const scratch &) = delete;
	const char *path() const
	{
		return path_.c_str();
	}

private:
	std::string path_;
};

/* Run in a fork child, which opens its own heap; its status. */
template <class F> int in_child(F run)
{
	const pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(run());
	waitpid(pid, &status, 0);
	return status;
}

/* The code of the std::system_error or ma::allocation_error that a call throws; 0: it throws none. */
template <class F> int thrown(F call)
{
	try {
		call();
	} catch (const ma::allocation_error &e) {
		return e.what()[0] ? e.code().value() : -1;
	} catch (const std::system_error &e) {
		return e.what()[0] ? e.code().value() : -1;
	}
	return 0;
}

inline std::uint64_t used_blocks(const ma::heap &file)
{
	return mmstats(file.handle()).chunks_used;
}

#endif /* MA_TESTS_MMALLOC_CXX_HPP */
