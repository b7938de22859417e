/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-allocator.hpp
 * @brief libmmalloc for C++17: errors, and the allocator for containers in a heap.
 *
 * Part of <mmalloc.hpp>, which says how to use it.
 *
 * A heap is mapped at one address in each process, so containers hold plain pointers. An allocator
 * that lies in a heap must hold nothing of one process, such as a handle. It holds the address of a
 * small block in the heap, the *anchor*, which the root `mapalloc:c++` names. A table of the
 * process leads from the anchor to the handle. The class mapalloc::mmalloc::heap makes the anchor
 * when it is first needed, and keeps the table up to date.
 */
#ifndef MMALLOC_ALLOCATOR_HPP
#define MMALLOC_ALLOCATOR_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "mmalloc.hpp is for C++17 and later; a C program includes mmalloc.h"
#endif

#include <mmalloc.h>
#include <mmalloc-types.hpp>

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

#if defined(__GNUC__)
#pragma GCC visibility push(default) /* One table per process, not one per library. */
#endif

/** @brief What mapalloc's libraries have for C++. */
namespace mapalloc
{
/** @brief libmmalloc for C++: heaps, allocators, locks. */
namespace mmalloc
{

/**
 * @brief No memory in a heap. Also a std::bad_alloc, which is what containers throw.
 *
 * Its what() is the sentence of mmalloc_errmsg().
 */
class allocation_error : public std::bad_alloc
{
public:
	/**
	 * @brief An error with a sentence.
	 * @param[in] code  What failed.
	 * @param[in] text  The sentence.
	 */
	allocation_error(std::error_code code, const char *text) : text_(text), code_(code)
	{
	}
	/** @brief The sentence. @return It, until the object is destroyed. */
	const char *what() const noexcept override
	{
		return text_.what();
	}
	/** @brief Why there is no memory. @return ENOMEM, ENOSPC or another errno of the call. */
	const std::error_code &code() const noexcept
	{
		return code_;
	}

private:
	std::runtime_error text_; /* A string whose copies do not throw. */
	std::error_code code_;
};

/** @cond */
template <class T> class allocator;

namespace detail
{
inline constexpr char anchor_name[] = "mapalloc:c++";

inline std::error_code error(int number) noexcept
{
	return std::error_code(number, std::system_category());
}

inline std::error_code last_error() noexcept
{
	return error(errno);
}

[[noreturn]] inline void throw_no_memory()
{
	const std::error_code code = last_error();

	throw allocation_error(code, mmalloc_errmsg());
}

/* The heaps of this process that are open in C++, each with its anchor. */
struct entry {
	std::atomic<unsigned> turn{ 0 }; /* Even: anchor and handle belong together. */
	std::atomic<const void *> anchor{ nullptr };
	std::atomic<void *> handle{ nullptr };
	unsigned uses = 0; /* Objects of class heap. The entry is unused when it is 0. */
	entry *next = nullptr;

	void set(const void *new_anchor, void *new_handle) noexcept
	{
		turn.fetch_add(1);
		anchor.store(new_anchor);
		handle.store(new_handle);
		turn.fetch_add(1);
	}
};

/* Look-ups take no lock. Changes do; it is held over a fork(), so that a child finds it free. */
class registry
{
public:
	static registry &instance() noexcept
	{
		/* Never destroyed: containers with static storage may need it at exit. */
		static registry *const only = make();

		return *only;
	}

	/* NULL: not open here. anchor is not NULL. An entry that is being changed is read again. */
	void *find(const void *anchor) const noexcept
	{
		for (const entry *e = first_.load(); e; e = e->next)
			while (e->anchor.load() == anchor) {
				const unsigned turn = e->turn.load();
				void *const handle = e->handle.load();
				const bool same = e->anchor.load() == anchor;

				if (turn % 2 == 0 && same && e->turn.load() == turn)
					return handle;
			}
		return nullptr;
	}

	/* NULL: no memory. */
	entry *add(void *handle) noexcept
	{
		const std::lock_guard<std::mutex> guard(mutex_);
		entry *unused = nullptr;

		for (entry *e = first_.load(); e; e = e->next) {
			if (e->uses == 0)
				unused = e;
			else if (e->handle.load() == handle)
				return e->uses++, e;
		}
		if (!unused)
			unused = push();
		if (unused) {
			unused->uses = 1;
			unused->set(nullptr, handle);
		}
		return unused;
	}

	void remove(entry *e) noexcept
	{
		const std::lock_guard<std::mutex> guard(mutex_);

		if (--e->uses == 0)
			e->set(nullptr, nullptr);
	}

	void set_anchor(entry *e, const void *anchor) noexcept
	{
		const std::lock_guard<std::mutex> guard(mutex_);

		if (e->anchor.load() != anchor)
			e->set(anchor, e->handle.load());
	}

private:
	static registry *make() noexcept
	{
		alignas(registry) static unsigned char place[sizeof(registry)];
		registry *const made = ::new (static_cast<void *>(place)) registry;

		pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
			       [] { instance().mutex_.unlock(); });
		return made;
	}

	entry *push() noexcept
	{
		entry *const made = ::new (std::nothrow) entry;

		if (made) {
			made->next = first_.load();
			first_.store(made);
		}
		return made;
	}

	std::mutex mutex_;
	std::atomic<entry *> first_{ nullptr };
};

/* NULL with errno. */
inline void *take(void *handle, std::size_t size, std::size_t alignment) noexcept
{
	if (!handle) { /* For the library, the default heap. */
		errno = EBADF;
		return nullptr;
	}
	if (alignment <= 16)
		return ::mmalloc(handle, size ? size : 1);
	return mmemalign(handle, alignment, size ? size : 1);
}

/* A block that is freed unless it is released. Keeps errno. */
struct pending {
	void *handle, *block;

	pending(void *heap, void *taken) noexcept : handle(heap), block(taken)
	{
	}
	pending(const pending &) = delete;
	pending &operator=(const pending &) = delete;
	~pending()
	{
		free();
	}
	void free() noexcept
	{
		const int saved = errno;

		if (block)
			mfree(handle, release());
		errno = saved;
	}
	void *release() noexcept
	{
		return std::exchange(block, nullptr);
	}
};

/* A container whose heap is not open here: the first such call is EBADF, with a sentence. */
inline void *take_at(const void *anchor, std::size_t size, std::size_t alignment)
{
	void *const handle = registry::instance().find(anchor);
	void *const block = handle ? take(handle, size, alignment) : nullptr;

	if (block)
		return block;
	if (handle)
		throw_no_memory();
	throw allocation_error(error(EBADF), "allocator: its heap is not open in this process, "
					     "as a mapalloc::mmalloc::heap; open it so (EBADF)");
}

inline void give_at(const void *anchor, void *block) noexcept
{
	void *const handle = registry::instance().find(anchor);

	if (handle)
		pending(handle, block).free();
}
} // namespace detail
/** @endcond */

/**
 * @brief An allocator for containers in a heap, and the only sort that these may have.
 *
 * It comes from heap::get_allocator(), or is passed by heap::construct(); there is none without a
 * heap. Two are equal if they belong to one heap. A container keeps its allocator for life:
 * assignment and move from a container of another heap copy the elements. As for every such
 * allocator, swap() of containers of two heaps is an error of the caller.
 *
 * A container may be changed in each process that has the heap open as a mapalloc::mmalloc::heap.
 * It can be read with any open handle. Nothing locks it: see mapalloc::mmalloc::lock.
 * @tparam T  What is in the container.
 */
template <class T> class allocator
{
public:
	/** @brief What is in the container. */
	using value_type = T;
	/** @brief Allocators of two heaps differ. */
	using is_always_equal = std::false_type;

	/**
	 * @brief An allocator of the same heap for another type.
	 * @param[in] other  It.
	 */
	template <class U> allocator(const allocator<U> &other) noexcept : anchor_(other.anchor_)
	{
	}

	/**
	 * @brief Allocate.
	 * @param[in] n  Elements.
	 * @return Room for them, aligned for T.
	 * @throw allocation_error  It is a std::bad_alloc. Its code(): ENOMEM the heap is full;
	 *        ENOSPC the disk is full; EROFS, EUSERS; EBADF the heap is not attached here.
	 * @throw std::bad_array_new_length  More bytes than a std::size_t can count.
	 */
	T *allocate(std::size_t n)
	{
		if (n > static_cast<std::size_t>(-1) / sizeof(T))
			throw std::bad_array_new_length();
		return static_cast<T *>(detail::take_at(anchor_, n * sizeof(T), alignof(T)));
	}

	/**
	 * @brief Free. A failure changes nothing; mmalloc_errmsg() has its sentence.
	 * @param[in] block  What allocate() gave.
	 */
	void deallocate(T *block, std::size_t) noexcept
	{
		detail::give_at(anchor_, block);
	}

#if defined(__GNUC__)
#pragma GCC diagnostic push /* As in a system header: how a program's arguments convert. */
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif
	/**
	 * @brief Construct an element, and pass this allocator to it if it takes one, as
	 * std::scoped_allocator_adaptor does. Refuses types that must not lie in a heap.
	 * @param[in] place  Where.
	 * @param[in] args   For its constructor.
	 */
	template <class U, class... Args> void construct(U *place, Args &&...args)
	{
		static_assert(may_be_stored_v<U>,
			      "this type must not lie in a heap: its bytes mean "
			      "nothing in another process");
		std::apply(
			[place](auto &&...all) {
				::new (static_cast<void *>(place))
					U(std::forward<decltype(all)>(all)...);
			},
			detail::arguments<U>(*this, std::forward<Args>(args)...));
	}
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

	/** @brief The handle of its heap. @return NULL when it is not open in this process. */
	void *handle() const noexcept
	{
		return detail::registry::instance().find(anchor_);
	}

	/** @brief Do both belong to one heap? */
	template <class U> bool operator==(const allocator<U> &other) const noexcept
	{
		return anchor_ == other.anchor_;
	}
	/** @brief Do they belong to two heaps? */
	template <class U> bool operator!=(const allocator<U> &other) const noexcept
	{
		return anchor_ != other.anchor_;
	}

private:
	friend class heap;
	template <class U> friend class allocator;
	explicit allocator(const void *anchor) noexcept : anchor_(anchor)
	{
	}

	const void *anchor_; /* A block of the heap, in the heap: valid in each process. */
};

} // namespace mmalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* MMALLOC_ALLOCATOR_HPP */
