/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc.hpp
 * @brief libmmalloc for C++17: heaps as objects, containers and named objects in them, locks.
 *
 * Header-only: it calls libmmalloc, and nothing else is linked. It needs exceptions, and `-pthread`
 * where the C library asks for it.
 *
 * @code
 * namespace ma = mapalloc::mmalloc;
 *
 * ma::heap file = ma::heap::make("words.heap", 1 << 20);
 * auto *words = file.find_or_construct<ma::vector<ma::string>>("words");
 * words->emplace_back("in this process, in each other one, and after a restart");
 * @endcode
 *
 * What holds for every function:
 * - @b Errors: a function throws std::system_error, whose code() has the errno in
 *   std::system_category(), and whose what() has the sentence of mmalloc_errmsg(). If it has a
 *   parameter of type `std::error_code &`, it stores the code there and throws nothing itself. Code
 *   0 is success. Only the program's own constructors can throw then. A full heap or disk, where
 *   memory is allocated, is an allocation_error, which is a std::bad_alloc.
 * - @b Threads, @b signals, @b fork, @b death: as the functions of mmalloc.h that are called. A
 *   change of a container is many stores: a process killed inside push_back() leaves it half
 *   changed. Use the pattern of mmalloc_lock(): change a copy, then swap a pointer.
 * - @b Layout: containers are those of the standard library. All programs of a heap need the
 *   same one, libstdc++ or libc++, in compatible versions and modes.
 *
 * Parts, which this header includes:
 * - mmalloc-types.hpp: which types may lie in a heap;
 * - mmalloc-allocator.hpp: the allocator for containers in a heap;
 * - mmalloc-containers.hpp: the standard containers with it;
 * - mmalloc-objects.hpp: the code of construct(), find() and the like;
 * - mmalloc-lock.hpp: locks.
 */
#ifndef MMALLOC_HPP
#define MMALLOC_HPP

#include <mmalloc-allocator.hpp>

#include <string>

#include <fcntl.h>
#include <unistd.h>

#if __has_include(<memory_resource>)
#include <memory_resource>
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace mapalloc
{
namespace mmalloc
{

/** @cond */
namespace detail
{
[[noreturn]] inline void throw_error(std::error_code code)
{
	throw std::system_error(code, mmalloc_errmsg());
}

inline std::error_code code_of(bool failed) noexcept
{
	return failed ? last_error() : std::error_code();
}
} // namespace detail
/** @endcond */

/**
 * @brief An open heap, closed when the object ends. It can be moved, and not copied.
 *
 * Opening a file twice gives two objects with one handle. Containers in the heap can be changed
 * while at least one of them is there.
 */
class heap
{
public:
	/** @brief No heap. */
	heap() noexcept = default;
	/** @brief The heap of another object, which has none then. @param[in] other  It. */
	heap(heap &&other) noexcept
	    : handle_(std::exchange(other.handle_, nullptr)),
	      entry_(std::exchange(other.entry_, nullptr))
	{
	}
	/** @brief Close, and take the heap of another object. @return This. */
	heap &operator=(heap &&other) noexcept
	{
		heap taken(std::move(other));

		swap(taken);
		return *this;
	}
	/** @brief Close. An error is lost: call close() to see it. */
	~heap()
	{
		std::error_code ignored;

		close(ignored);
	}
	/** @brief Exchange two heaps. @param[in] other  The other one. */
	void swap(heap &other) noexcept
	{
		std::swap(handle_, other.handle_);
		std::swap(entry_, other.entry_);
	}

	/**
	 * @brief Attach the heap of an existing file.
	 * @param[in] filename  Its path.
	 * @param[in] flags     0, or MMALLOC_ flags.
	 * @return The heap.
	 * @throw std::system_error  As open(2) and mmalloc_attach_opt().
	 */
	static heap open(const char *filename, unsigned flags = 0)
	{
		return checked_open(filename, flagged(flags), 0);
	}
	/** @brief The same. @param[out] ec  The error. @return The heap, or none. */
	static heap open(const char *filename, unsigned flags, std::error_code &ec) noexcept
	{
		bool ignored;

		return of_file(filename, flagged(flags), 0, ignored, ec);
	}

	/**
	 * @brief Make a heap in a file, or attach the one that the file holds.
	 * @param[in] filename  Its path. A new file gets mode 0600.
	 * @param[in] options   As for mmalloc_attach_opt(). At first: `mmalloc_options options{};`.
	 * @return The heap.
	 * @throw std::system_error  As open(2) and mmalloc_attach_opt().
	 */
	static heap make(const char *filename, const mmalloc_options &options = {})
	{
		return checked_open(filename, options, O_CREAT);
	}
	/** @brief The same. @param[out] ec  The error. @return The heap, or none. */
	static heap make(const char *filename, const mmalloc_options &options,
			 std::error_code &ec) noexcept
	{
		bool ignored;

		return of_file(filename, options, O_CREAT, ignored, ec);
	}

	/**
	 * @brief Attach by descriptor, such as of memfd_create(2), or memory of this process alone.
	 * @param[in] fd       As for mmalloc_attach_opt(): stays the caller's. Negative: memory.
	 * @param[in] options  As for mmalloc_attach_opt().
	 * @return The heap.
	 * @throw std::system_error  As mmalloc_attach_opt().
	 */
	static heap attach(int fd, const mmalloc_options &options = {})
	{
		std::error_code ec;
		heap made = attach(fd, options, ec);

		if (ec)
			detail::throw_error(ec);
		return made;
	}
	/** @brief The same. @param[out] ec  The error. @return The heap, or none. */
	static heap attach(int fd, const mmalloc_options &options, std::error_code &ec) noexcept
	{
		return adopt(mmalloc_attach_opt(fd, nullptr, &options), ec);
	}

	/**
	 * @brief Take over a descriptor of the C interface: the object detaches it.
	 * @param[in]  handle  What mmalloc_attach() gave. NULL: its errno is stored.
	 * @param[out] ec      ENOMEM: no memory, and the heap was detached.
	 * @return The heap, or none.
	 */
	static heap adopt(void *handle, std::error_code &ec) noexcept
	{
		heap made;

		ec = detail::code_of(!handle);
		if (!handle)
			return made;
		made.entry_ = detail::registry::instance().add(handle);
		if (made.entry_) {
			made.handle_ = handle;
		} else {
			mmalloc_detach(handle);
			ec = detail::error(ENOMEM);
		}
		return made;
	}

	/** @brief Close, if there is a heap. @throw std::system_error  As mmalloc_detach(). */
	void close()
	{
		std::error_code ec;

		close(ec);
		if (ec)
			detail::throw_error(ec);
	}
	/** @brief Close, if there is a heap. @param[out] ec  The error. There is no heap then. */
	void close(std::error_code &ec) noexcept
	{
		ec.clear();
		if (!handle_)
			return;
		detail::registry::instance().remove(std::exchange(entry_, nullptr));
		ec = detail::code_of(detached(std::exchange(handle_, nullptr)));
	}

	/** @brief Is there a heap? */
	explicit operator bool() const noexcept
	{
		return handle_ != nullptr;
	}
	/** @brief For the functions of mmalloc.h. @return The handle, or NULL. Do not close it. */
	void *handle() const noexcept
	{
		return handle_;
	}

	/** @brief mmalloc_sync(). @throw std::system_error  As there. */
	void sync()
	{
		std::error_code ec;

		sync(ec);
		if (ec)
			raise(ec, "");
	}
	/** @brief mmalloc_sync(). @param[out] ec  The error. */
	void sync(std::error_code &ec) noexcept
	{
		ec = detail::code_of(is_none() || mmalloc_sync(handle_) != 0);
	}

	/**
	 * @brief The allocator of this heap.
	 * @tparam T  For what.
	 * @return It.
	 * @throw std::system_error  The first call for a heap stores 8 bytes there: EROFS, ENOMEM,
	 *        ENOSPC, and others, as mmalloc_find_or_create().
	 */
	template <class T = std::byte> allocator<T> get_allocator() const
	{
		std::error_code ec;
		const allocator<T> made = get_allocator<T>(ec);

		if (ec)
			raise(ec, detail::anchor_name);
		return made;
	}
	/** @brief The same. @param[out] ec  The error. @return It, useless after an error. */
	template <class T = std::byte>
	allocator<T> get_allocator(std::error_code &ec) const noexcept
	{
		const void *anchor = nullptr;

		if (!is_none())
			anchor = mmalloc_find_or_create(handle_, detail::anchor_name, 8, nullptr,
							nullptr, nullptr);
		ec = detail::code_of(!anchor);
		if (anchor)
			detail::registry::instance().set_anchor(entry_, anchor);
		return allocator<T>(anchor);
	}

	/**
	 * @brief Construct an object in the heap, and give it a name.
	 *
	 * Other threads and processes find no such root or a complete object. A process killed
	 * before that leaves the block, and what the constructor allocated, allocated. If T takes
	 * an allocator as its last argument, or as its first with std::allocator_arg, that of the
	 * heap is added to @p args. Without arguments the object is value-initialised.
	 * @tparam T  A type for which may_be_stored is true.
	 * @param[in] name  As for mmalloc_setroot().
	 * @param[in] args  For the constructor; or for T{...}, if there is no such constructor.
	 * @return The object.
	 * @throw allocation_error   The heap or the disk is full.
	 * @throw std::system_error  EEXIST the name is taken; else as mmalloc_casroot().
	 */
	template <class T, class... Args> T *construct(const char *name, Args &&...args);
	/** @brief The same. @param[out] ec  The error. @return The object, or NULL. */
	template <class T, class... Args>
	T *construct(std::error_code &ec, const char *name, Args &&...args);

	/**
	 * @brief The object of a name.
	 * @tparam T  As for construct(). A root of another type is refused, as far as size,
	 *            alignment, name of the type and standard library tell.
	 * @param[in] name  As for mmalloc_getroot().
	 * @return The object; NULL when no root has this name.
	 * @throw std::system_error  EPROTOTYPE it is no T that construct() or create() made, such
	 *        as a block of a C program (mmalloc_getroot() gives that); else as that call.
	 */
	template <class T> T *find(const char *name) const;
	/** @brief The same. @param[out] ec  The error. @return The object, or NULL. */
	template <class T> T *find(const char *name, std::error_code &ec) const noexcept;

	/**
	 * @brief The object of a name; if there is none, construct it, in one atomic step.
	 *
	 * When several callers construct at once, one object gets the name, and all callers return
	 * it. The objects of the others are destroyed, also what their constructors allocated.
	 * @param[in] name  As for construct().
	 * @param[in] args  As for construct().
	 * @return The object, never NULL.
	 * @throw allocation_error   As construct().
	 * @throw std::system_error  As construct() and find(), but not EEXIST.
	 */
	template <class T, class... Args> T *find_or_construct(const char *name, Args &&...args);
	/** @brief The same. @param[out] ec  The error. @return The object, or NULL. */
	template <class T, class... Args>
	T *find_or_construct(std::error_code &ec, const char *name, Args &&...args);

	/**
	 * @brief Take the name away, then destroy the object and free its block.
	 *
	 * Of several callers, one destroys. No other thread or process may still use the object.
	 * @param[in] name  As for find().
	 * @return true; false when no root has this name.
	 * @throw std::system_error  As find(), and as mmalloc_casroot().
	 */
	template <class T> bool destroy(const char *name);
	/** @brief The same. @param[out] ec  The error. @return As there; false after an error. */
	template <class T> bool destroy(const char *name, std::error_code &ec) noexcept;

	/**
	 * @brief Construct an object without a name: for a pointer in another object.
	 * @param[in] args  As for construct().
	 * @return The object. dispose() destroys it. mmalloc_casroot() can give it a name later.
	 * @throw allocation_error   The heap or the disk is full.
	 * @throw std::system_error  EROFS, EUSERS, EBADF.
	 */
	template <class T, class... Args> T *create(Args &&...args);
	/**
	 * @brief Destroy an object that has no name, and free its block.
	 * @param[in] object  What create() gave, in any process; or NULL.
	 */
	template <class T> void dispose(T *object) noexcept;

private:
	[[noreturn]] void raise(std::error_code code, const char *name) const;

	/* For the library, NULL is the default heap; here it is no heap. */
	bool is_none() const noexcept
	{
		if (!handle_)
			errno = EBADF;
		return !handle_;
	}
	void *root(const char *name) const noexcept
	{
		return is_none() ? nullptr : mmalloc_getroot(handle_, name);
	}

	template <class T, class... Args> T *build(std::error_code &ec, Args &&...args);
	template <class T> T *checked(void *object, std::error_code &ec) const noexcept;

	static mmalloc_options flagged(unsigned flags) noexcept
	{
		mmalloc_options options{};

		options.flags = flags;
		return options;
	}

	static bool detached(void *handle) noexcept
	{
		return mmalloc_detach(handle) != nullptr;
	}

	/* opened: the file could be opened, so that a failure is one of the library. */
	static heap of_file(const char *filename, const mmalloc_options &options, int create,
			    bool &opened, std::error_code &ec) noexcept
	{
		const bool reads = options.flags & (MMALLOC_RDONLY | MMALLOC_PRIVATE);
		const int fd =
			::open(filename, (reads ? O_RDONLY : O_RDWR) | create | O_CLOEXEC, 0600);

		opened = fd >= 0;
		ec = detail::code_of(!opened);
		if (!opened)
			return heap();
		heap made = attach(fd, options, ec);

		::close(fd);
		return made;
	}

	static heap checked_open(const char *filename, const mmalloc_options &options, int create)
	{
		std::error_code ec;
		bool opened;
		heap made = of_file(filename, options, create, opened, ec);

		if (ec && !opened)
			throw std::system_error(ec, filename);
		if (ec)
			detail::throw_error(ec);
		return made;
	}

	void *handle_ = nullptr;
	detail::entry *entry_ = nullptr;
};

/** @brief Exchange two heaps. @param[in] a  One. @param[in] b  The other one. */
inline void swap(heap &a, heap &b) noexcept
{
	a.swap(b);
}

#if __has_include(<memory_resource>)
/**
 * @brief A std::pmr::memory_resource whose blocks lie in a heap: for containers of one process.
 *
 * It is an object of the process, with virtual functions. So is each pmr container, whose allocator
 * is a pointer to it: neither may lie in a heap, and construct() and allocator refuse them. What
 * such a container has allocated when its process is killed stays allocated. Use it for large
 * temporary data in a file that is removed afterwards, or in a private heap.
 */
class resource : public std::pmr::memory_resource
{
public:
	/** @brief Of a heap. @param[in] of  It. It must outlive the resource. */
	explicit resource(const heap &of) noexcept : handle_(of.handle())
	{
	}

private:
	void *do_allocate(std::size_t bytes, std::size_t alignment) override
	{
		void *const block = detail::take(handle_, bytes, alignment);

		if (!block)
			detail::throw_no_memory();
		return block;
	}
	void do_deallocate(void *block, std::size_t, std::size_t) override
	{
		detail::pending freed(handle_, block);
	}
	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
		return this == &other;
	}

	void *handle_;
};
#endif

} // namespace mmalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#include <mmalloc-containers.hpp>
#include <mmalloc-lock.hpp>
#include <mmalloc-objects.hpp>

#endif /* MMALLOC_HPP */
