/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file qalloc.hpp
 * @brief libqalloc for C++17: maps as objects, containers and named objects in them, locks.
 *
 * Header-only: it calls libqalloc, and nothing else is linked. It needs exceptions, and `-pthread`
 * where the C library asks for it.
 *
 * @code
 * namespace ma = mapalloc::qalloc;
 *
 * ma::map file = ma::map::make("words.map", 1 << 20);
 * auto *words = file.find_or_construct<ma::vector<ma::string>>("words");
 * words->emplace_back("in this process, in each other one, and after a restart");
 * @endcode
 *
 * What holds for every function:
 * - @b Errors: a function throws std::system_error, whose code() has the errno in
 *   std::system_category(), and whose what() has the sentence of qalloc_errmsg(). If it has a
 *   parameter of type `std::error_code &`, it stores the code there and throws nothing itself. Code
 *   0 is success. Only the program's own constructors can throw then. A full map or disk, where
 *   memory is allocated, is an allocation_error, which is a std::bad_alloc.
 * - @b Threads, @b signals, @b fork, @b death: as the functions of qalloc.h that are called. A
 *   change of a container is many stores: a process killed inside push_back() leaves it half
 *   changed. Use the pattern of qalloc_lock(): change a copy, then swap a pointer.
 * - @b Layout: containers are those of the standard library. All programs that use one map need the
 *   same one, libstdc++ or libc++, in compatible versions and modes.
 *
 * Parts, which this header includes:
 * - qalloc-types.hpp: which types may lie in a map;
 * - qalloc-allocator.hpp: the allocator for containers in a map;
 * - qalloc-containers.hpp: the standard containers with it;
 * - qalloc-objects.hpp: the code of construct(), find() and the like;
 * - qalloc-lock.hpp: locks.
 */
#ifndef QALLOC_HPP
#define QALLOC_HPP

#include <qalloc-allocator.hpp>

#include <string>
#if __has_include(<memory_resource>)
#include <memory_resource>
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace mapalloc
{
namespace qalloc
{

/** @cond */
namespace detail
{
[[noreturn]] inline void throw_error(std::error_code code)
{
	throw std::system_error(code, qalloc_errmsg());
}

inline std::error_code code_of(bool failed) noexcept
{
	return failed ? last_error() : std::error_code();
}
} // namespace detail
/** @endcond */

/**
 * @brief An open map, closed when the object ends. It can be moved, and not copied.
 *
 * Opening a file twice gives two objects with one handle. Containers in the map can be changed
 * while at least one of them is there.
 */
class map
{
public:
	/** @brief No map. */
	map() noexcept = default;
	/** @brief The map of another object, which has none then. @param[in] other  It. */
	map(map &&other) noexcept
	    : handle_(std::exchange(other.handle_, nullptr)),
	      entry_(std::exchange(other.entry_, nullptr))
	{
	}
	/** @brief Close, and take the map of another object. @return This. */
	map &operator=(map &&other) noexcept
	{
		map taken(std::move(other));

		swap(taken);
		return *this;
	}
	/** @brief Close. An error is lost: call close() to see it. */
	~map()
	{
		std::error_code ignored;

		close(ignored);
	}
	/** @brief Exchange two maps. @param[in] other  The other one. */
	void swap(map &other) noexcept
	{
		std::swap(handle_, other.handle_);
		std::swap(entry_, other.entry_);
	}

	/**
	 * @brief Open an existing map.
	 * @param[in] filename  Its path.
	 * @param[in] flags     As for qalloc_open().
	 * @return The map.
	 * @throw std::system_error  As qalloc_open().
	 */
	static map open(const char *filename, unsigned flags = 0)
	{
		return opened(qalloc_open(filename, flags));
	}
	/** @brief The same. @param[out] ec  The error. @return The map, or none. */
	static map open(const char *filename, unsigned flags, std::error_code &ec) noexcept
	{
		return adopt(qalloc_open(filename, flags), ec);
	}

	/**
	 * @brief Create a dynamic map, or open the one that the file holds.
	 * @param[in] filename  Its path.
	 * @param[in] size      Of a new file, in bytes.
	 * @return The map.
	 * @throw std::system_error  As qalloc_make().
	 */
	static map make(const char *filename, std::uint64_t size)
	{
		return make(filename, sized(size));
	}
	/** @brief The same. @param[out] ec  The error. @return The map, or none. */
	static map make(const char *filename, std::uint64_t size, std::error_code &ec) noexcept
	{
		return make(filename, sized(size), ec);
	}
	/**
	 * @brief Create a map of either kind, or open the one that the file holds.
	 * @param[in] filename  Its path.
	 * @param[in] options   As for qalloc_make(). Begin with `qalloc_options options{};`.
	 * @return The map.
	 * @throw std::system_error  As qalloc_make().
	 */
	static map make(const char *filename, const qalloc_options &options)
	{
		return opened(qalloc_make(filename, &options));
	}
	/** @brief The same. @param[out] ec  The error. @return The map, or none. */
	static map make(const char *filename, const qalloc_options &options,
			std::error_code &ec) noexcept
	{
		return adopt(qalloc_make(filename, &options), ec);
	}

	/**
	 * @brief Take over a handle of the C interface: the object closes it.
	 * @param[in]  handle  What a call of qalloc.h gave. NULL: its errno is stored.
	 * @param[out] ec      ENOMEM: no memory, and the handle was closed.
	 * @return The map, or none.
	 */
	static map adopt(void *handle, std::error_code &ec) noexcept
	{
		map made;

		ec = detail::code_of(!handle);
		if (!handle)
			return made;
		made.entry_ = detail::registry::instance().add(handle);
		if (made.entry_) {
			made.handle_ = handle;
		} else {
			qalloc_close(handle);
			ec = detail::error(ENOMEM);
		}
		return made;
	}

	/** @brief Close, if there is a map. @throw std::system_error  As qalloc_close(). */
	void close()
	{
		std::error_code ec;

		close(ec);
		if (ec)
			detail::throw_error(ec);
	}
	/** @brief Close, if there is a map. @param[out] ec  The error. There is no map then. */
	void close(std::error_code &ec) noexcept
	{
		ec.clear();
		if (!handle_)
			return;
		detail::registry::instance().remove(std::exchange(entry_, nullptr));
		ec = detail::code_of(qalloc_close(std::exchange(handle_, nullptr)) != 0);
	}

	/** @brief Is there a map? */
	explicit operator bool() const noexcept
	{
		return handle_ != nullptr;
	}
	/** @brief For the functions of qalloc.h. @return The handle, or NULL. Do not close it. */
	void *handle() const noexcept
	{
		return handle_;
	}

	/** @brief qalloc_sync(). @throw std::system_error  As there. */
	void sync()
	{
		if (qalloc_sync(handle_) != 0)
			detail::throw_error(detail::last_error());
	}
	/** @brief qalloc_sync(). @param[out] ec  The error. */
	void sync(std::error_code &ec) noexcept
	{
		ec = detail::code_of(qalloc_sync(handle_) != 0);
	}
	/** @brief qalloc_grow(). @param[in] size  As there. @throw std::system_error  As there. */
	void grow(std::uint64_t size)
	{
		if (qalloc_grow(handle_, size) != 0)
			detail::throw_error(detail::last_error());
	}
	/** @brief qalloc_grow(). @param[in] size  As there. @param[out] ec  The error. */
	void grow(std::uint64_t size, std::error_code &ec) noexcept
	{
		ec = detail::code_of(qalloc_grow(handle_, size) != 0);
	}

	/**
	 * @brief The allocator of this map.
	 * @tparam T  For what.
	 * @return It.
	 * @throw std::system_error  The first call for a map stores 8 bytes there: EROFS, ENOMEM,
	 *        ENOSPC, and others, as qalloc_find_or_create().
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
		const void *const anchor = qalloc_find_or_create(handle_, detail::anchor_name, 8,
								 nullptr, nullptr, nullptr);

		ec = detail::code_of(!anchor);
		if (anchor)
			detail::registry::instance().set_anchor(entry_, anchor);
		return allocator<T>(anchor);
	}

	/**
	 * @brief Construct an object in the map, and give it a name.
	 *
	 * Other threads and processes find no such root or a complete object. A process killed
	 * before that leaves the block, and what the constructor allocated, allocated. If T takes
	 * an allocator as its last argument, or as its first with std::allocator_arg, that of the
	 * map is added to @p args. Without arguments the object is value-initialised.
	 * @tparam T  A type for which may_be_stored is true.
	 * @param[in] name  As for qalloc_setroot().
	 * @param[in] args  For the constructor; or for T{...}, if there is no such constructor.
	 * @return The object.
	 * @throw allocation_error   The map or the disk is full.
	 * @throw std::system_error  EEXIST the name is taken; else as qalloc_casroot().
	 */
	template <class T, class... Args> T *construct(const char *name, Args &&...args);
	/** @brief The same. @param[out] ec  The error. @return The object, or NULL. */
	template <class T, class... Args>
	T *construct(std::error_code &ec, const char *name, Args &&...args);

	/**
	 * @brief The object of a name.
	 * @tparam T  As for construct(). A root of another type is refused, as far as size,
	 *            alignment, name of the type and standard library tell.
	 * @param[in] name  As for qalloc_getroot().
	 * @return The object; NULL when no root has this name.
	 * @throw std::system_error  EPROTOTYPE it is no T that construct() or create() made, such
	 *        as a block of a C program (qalloc_getroot() gives that); else as qalloc_getroot().
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
	 * @throw std::system_error  As find(), and as qalloc_casroot().
	 */
	template <class T> bool destroy(const char *name);
	/** @brief The same. @param[out] ec  The error. @return As there; false after an error. */
	template <class T> bool destroy(const char *name, std::error_code &ec) noexcept;

	/**
	 * @brief Construct an object without a name: for a pointer in another object.
	 * @param[in] args  As for construct().
	 * @return The object. dispose() destroys it. qalloc_casroot() can give it a name later.
	 * @throw allocation_error   The map or the disk is full.
	 * @throw std::system_error  EROFS, EUSERS, EBADF.
	 */
	template <class T, class... Args> T *create(Args &&...args);
	/**
	 * @brief Destroy an object that has no name, and free its block.
	 * @param[in] object  What create() gave, in any process; or NULL.
	 */
	template <class T> void dispose(T *object) noexcept;

private:
	[[noreturn]] static void raise(std::error_code code, const char *name);
	template <class T, class... Args> T *build(std::error_code &ec, Args &&...args);
	template <class T> T *checked(void *object, std::error_code &ec) const noexcept;

	static qalloc_options sized(std::uint64_t size) noexcept
	{
		qalloc_options options{};

		options.size = size;
		return options;
	}

	static map opened(void *handle)
	{
		std::error_code ec;
		map made = adopt(handle, ec);

		if (!handle)
			detail::throw_error(ec);
		if (ec)
			throw std::bad_alloc();
		return made;
	}

	void *handle_ = nullptr;
	detail::entry *entry_ = nullptr;
};

/** @brief Exchange two maps. @param[in] a  One. @param[in] b  The other one. */
inline void swap(map &a, map &b) noexcept
{
	a.swap(b);
}

#if __has_include(<memory_resource>)
/**
 * @brief A std::pmr::memory_resource whose blocks lie in a map: for containers of one process.
 *
 * It is an object of the process, with virtual functions. So is each pmr container, whose allocator
 * is a pointer to it: neither may lie in a map, and construct() and allocator refuse them. What
 * such a container has allocated when its process is killed stays allocated. Use it for large
 * temporary data in a file that is removed afterwards, or in a private map.
 */
class resource : public std::pmr::memory_resource
{
public:
	/** @brief Of a map. @param[in] of  It. It must outlive the resource. */
	explicit resource(const map &of) noexcept : handle_(of.handle())
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

} // namespace qalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#include <qalloc-containers.hpp>
#include <qalloc-lock.hpp>
#include <qalloc-objects.hpp>

#endif /* QALLOC_HPP */
