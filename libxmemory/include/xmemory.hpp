/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file xmemory.hpp
 * @brief libxmemory for C++17: xmemory-new.h under the name that the other libraries' headers have,
 * and a std::pmr::memory_resource.
 *
 * - mapalloc::xmemory::allocator: for one container, the allocator of xmemory-new.h.
 * - mapalloc::xmemory::resource: for pmr containers.
 * - `#define XMEMORY_DEFINE_NEW` before the inclusion, in one source file: `new` of the whole
 *   program, as in xmemory-new.h.
 *
 * Blocks are memory of this process, in RAM or in a VM file: any C++ object may lie there. This
 * header does not include xmemory.h, so it defines no shims. It needs exceptions.
 *
 * @code
 * mapalloc::xmemory::resource memory;
 * std::pmr::vector<double> table(&memory);
 * @endcode
 */
#ifndef XMEMORY_HPP
#define XMEMORY_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "xmemory.hpp is for C++17 and later; see also xmemory-new.h"
#endif

#include <xmemory-new.h>

#include <cstddef>
#if __has_include(<memory_resource>)
#include <memory_resource>
#endif

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace mapalloc
{
/** @brief libxmemory for C++: an allocator and a memory_resource. */
namespace xmemory
{

/** @brief The allocator of xmemory-new.h. @tparam T  What is in the container. */
template <class T> using allocator = ::xmemory::allocator<T>;

#if __has_include(<memory_resource>)
/**
 * @brief A std::pmr::memory_resource whose blocks are those of libxmemory.
 *
 * All objects of this class are equal. In xmemory_leaks() its blocks come from
 * "xmemory::resource", line 0. Over budget, a block is in a VM file; std::bad_alloc is thrown only
 * when that fails too, after the new handler was called.
 */
class resource : public std::pmr::memory_resource
{
private:
	void *do_allocate(std::size_t bytes, std::size_t alignment) override
	{
		return ::xmemory::detail::take_or_throw(bytes, alignment, name());
	}
	void do_deallocate(void *block, std::size_t, std::size_t) override
	{
		::xmemory::detail::give(block, name());
	}
	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
		return dynamic_cast<const resource *>(&other) != nullptr;
	}
	static const char *name() noexcept
	{
		return "xmemory::resource";
	}
};
#endif

} // namespace xmemory
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* XMEMORY_HPP */
