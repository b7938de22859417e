/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file xmemory-new.h
 * @brief C++: blocks of libxmemory for `new`, for containers, for one container.
 *
 * The shims of xmemory.h replace calls by name, and so do not cover `new` and containers. There are
 * two ways to include them:
 *
 * - For the whole program, libraries and all: `#define XMEMORY_DEFINE_NEW` before the inclusion of
 *   this header in exactly one source file. That file then defines every replaceable form of
 *   operator new and operator delete: single and array, nothrow, sized (C++14), aligned (C++17).
 *   Over budget, the block is in a VM file; std::bad_alloc is thrown only when that fails too,
 *   after the new handler was called.
 * - For one container: `std::vector<int, xmemory::allocator<int>>`.
 *
 * In xmemory_status() and xmemory_leaks() such blocks come from "operator new", line 0, or
 * "xmemory::allocator", line 0. Blocks must be freed in the way in which they were made, as always:
 * `delete` for `new`. `delete` of NULL is no warning. After xmemory_off(), what `new` gave must be
 * deleted before xmemory_on().
 *
 * This header needs C++11. It does not include xmemory.h, and so defines no shims; the order of the
 * two does not matter.
 */
#ifndef XMEMORY_NEW_H
#define XMEMORY_NEW_H

#if !defined(__cplusplus) || __cplusplus < 201103L
#error "xmemory-new.h is for C++11 and later; a C program includes xmemory.h"
#endif

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif
extern "C" {
/** @cond Documented in xmemory.h. */
void *xmemory_malloc(std::size_t size, const char *file, int line);
void *xmemory_memalign(std::size_t alignment, std::size_t size, const char *file, int line);
void xmemory_free(void *ptr, const char *file, int line);
/** @endcond */
}
#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

/** @brief What libxmemory has for C++. */
namespace xmemory
{

/** @cond */
namespace detail
{
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
[[noreturn]] inline void no_memory()
{
	throw std::bad_alloc();
}
#else
[[noreturn]] inline void no_memory()
{
	std::abort();
}
#endif

inline void *take(std::size_t size, std::size_t alignment, const char *who) noexcept
{
	if (size == 0)
		size = 1;
	if (alignment <= 16)
		return xmemory_malloc(size, who, 0);
	return xmemory_memalign(alignment, size, who, 0);
}

inline void give(void *ptr, const char *who) noexcept
{
	if (ptr)
		xmemory_free(ptr, who, 0);
}

/* As the standard has it: the new handler may free something, or throw. */
inline void *take_or_throw(std::size_t size, std::size_t alignment, const char *who)
{
	for (;;) {
		void *block = take(size, alignment, who);
		std::new_handler handler;

		if (block)
			return block;
		handler = std::get_new_handler();
		if (!handler)
			no_memory();
		handler();
	}
}

/* The nothrow forms: a new handler that throws says that there is none. */
inline void *take_or_null(std::size_t size, std::size_t alignment) noexcept
{
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
	try {
		return take_or_throw(size, alignment, "operator new");
	} catch (...) {
		return nullptr;
	}
#else
	return take(size, alignment, "operator new");
#endif
}
} // namespace detail
/** @endcond */

/**
 * @brief An allocator for containers: its memory is blocks of libxmemory.
 * @tparam T  What is in the container.
 */
template <class T> struct allocator {
	/** @brief What is in the container. */
	typedef T value_type;

	/** @brief It has no state. */
	allocator() noexcept = default;
	/** @brief All allocators of this sort are one. */
	template <class U> allocator(const allocator<U> &) noexcept
	{
	}

	/**
	 * @brief Allocate.
	 * @param n  Elements.
	 * @return Room for them, aligned for T. std::bad_alloc: neither RAM nor disk space.
	 */
	T *allocate(std::size_t n)
	{
		if (n > std::numeric_limits<std::size_t>::max() / sizeof(T))
			detail::no_memory();
		return static_cast<T *>(
			detail::take_or_throw(n * sizeof(T), alignof(T), "xmemory::allocator"));
	}

	/**
	 * @brief Free.
	 * @param ptr  What allocate() gave.
	 */
	void deallocate(T *ptr, std::size_t) noexcept
	{
		detail::give(ptr, "xmemory::allocator");
	}
};

/** @cond One allocator may free what another one allocated. */
template <class T, class U> bool operator==(const allocator<T> &, const allocator<U> &) noexcept
{
	return true;
}

template <class T, class U> bool operator!=(const allocator<T> &, const allocator<U> &) noexcept
{
	return false;
}
/** @endcond */

} // namespace xmemory

#ifdef XMEMORY_DEFINE_NEW

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-declarations" /* Of the sized forms, before C++14. */
#endif

/** @cond */
void *operator new(std::size_t size)
{
	return xmemory::detail::take_or_throw(size, 1, "operator new");
}

void *operator new(std::size_t size, const std::nothrow_t &) noexcept
{
	return xmemory::detail::take_or_null(size, 1);
}

void operator delete(void *ptr) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete(void *ptr, std::size_t) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete(void *ptr, const std::nothrow_t &) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void *operator new[](std::size_t size)
{
	return xmemory::detail::take_or_throw(size, 1, "operator new");
}

void *operator new[](std::size_t size, const std::nothrow_t &) noexcept
{
	return xmemory::detail::take_or_null(size, 1);
}

void operator delete[](void *ptr) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete[](void *ptr, std::size_t) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete[](void *ptr, const std::nothrow_t &) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

#ifdef __cpp_aligned_new
void *operator new(std::size_t size, std::align_val_t alignment)
{
	return xmemory::detail::take_or_throw(size, static_cast<std::size_t>(alignment),
					      "operator new");
}

void *operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept
{
	return xmemory::detail::take_or_null(size, static_cast<std::size_t>(alignment));
}

void operator delete(void *ptr, std::align_val_t) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete(void *ptr, std::size_t, std::align_val_t) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete(void *ptr, std::align_val_t, const std::nothrow_t &) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void *operator new[](std::size_t size, std::align_val_t alignment)
{
	return xmemory::detail::take_or_throw(size, static_cast<std::size_t>(alignment),
					      "operator new");
}

void *operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t &) noexcept
{
	return xmemory::detail::take_or_null(size, static_cast<std::size_t>(alignment));
}

void operator delete[](void *ptr, std::align_val_t) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete[](void *ptr, std::size_t, std::align_val_t) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}

void operator delete[](void *ptr, std::align_val_t, const std::nothrow_t &) noexcept
{
	xmemory::detail::give(ptr, "operator delete");
}
#endif
/** @endcond */

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#pragma GCC visibility pop
#endif

#endif /* XMEMORY_DEFINE_NEW */

#endif /* XMEMORY_NEW_H */
