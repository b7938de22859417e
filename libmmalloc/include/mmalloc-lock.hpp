/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-lock.hpp
 * @brief libmmalloc for C++17: locks of the program in a heap.
 *
 * Part of <mmalloc.hpp>, which says how to use it.
 */
/* First, also when a program includes this header alone. */
#include <mmalloc.hpp>

#ifndef MMALLOC_LOCK_HPP
#define MMALLOC_LOCK_HPP

#include <chrono>

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace mapalloc
{
namespace mmalloc
{

/** @brief The lock itself, in a block of the heap. All zero is free: `lock_word lock{};`. */
using lock_word = struct ::mmalloc_lock;

/**
 * @brief A lock in a heap, for std::unique_lock and std::lock_guard: a view of a lock_word.
 *
 * The structure in the heap has a member of type lock_word, which is shared. The view belongs
 * to one thread: each thread that locks makes its own. It is BasicLockable, Lockable and
 * TimedLockable. No lock is recursive.
 *
 * @code
 * ma::lock_ref lock(file, table->lock);
 * std::unique_lock guard(lock);
 *
 * if (lock.owner_died())
 *         repair(*table);
 * @endcode
 */
class lock_ref
{
public:
	/**
	 * @brief A view of a lock. The heap must outlive it.
	 * @param[in] in    The heap.
	 * @param[in] word  The lock, in a block of the heap.
	 */
	lock_ref(const heap &in, lock_word &word) noexcept : handle_(in.handle()), word_(&word)
	{
	}
	/** @brief A view is not copied: it knows whether its thread found a dead holder. */
	lock_ref(const lock_ref &) = delete;
	/** @brief A view is not copied. */
	lock_ref &operator=(const lock_ref &) = delete;

	/**
	 * @brief Lock, and wait as long as a live thread holds the lock.
	 * @throw std::system_error  EDEADLK this thread holds it; else as mmalloc_lock(), but not
	 *        EOWNERDEAD: see owner_died().
	 */
	void lock()
	{
		require(::mmalloc_lock(handle_, word_));
	}
	/** @brief The same. @param[out] ec  The error. */
	void lock(std::error_code &ec) noexcept
	{
		took(::mmalloc_lock(handle_, word_), ec);
	}

	/**
	 * @brief Lock if that is possible without waiting.
	 * @return true; false when a live thread holds the lock, perhaps this one.
	 * @throw std::system_error  As lock().
	 */
	bool try_lock()
	{
		return require(mmalloc_trylock(handle_, word_));
	}
	/** @brief The same. @param[out] ec  The error. @return As there; false after an error. */
	bool try_lock(std::error_code &ec) noexcept
	{
		return took(mmalloc_trylock(handle_, word_), ec);
	}

	/**
	 * @brief Lock, and wait no longer than this.
	 * @param[in] time  How long, rounded up to milliseconds.
	 * @return true; false when a live thread held it all the time.
	 * @throw std::system_error  As lock().
	 */
	template <class Rep, class Period>
	bool try_lock_for(const std::chrono::duration<Rep, Period> &time)
	{
		return try_lock_until(std::chrono::steady_clock::now() + time);
	}

	/**
	 * @brief Lock, and wait no longer than until this moment.
	 * @param[in] end  The moment, of any clock. A clock that is set meanwhile counts.
	 * @return As try_lock_for().
	 * @throw std::system_error  As lock().
	 */
	template <class Clock, class Duration>
	bool try_lock_until(const std::chrono::time_point<Clock, Duration> &end)
	{
		while (!require(mmalloc_timedlock(handle_, word_, wait_ms(end - Clock::now()))))
			if (Clock::now() >= end)
				return false;
		return true;
	}

	/** @brief Unlock. If this thread does not hold the lock, nothing changes. */
	void unlock() noexcept
	{
		died_ = false;
		mmalloc_unlock(handle_, word_);
	}
	/** @brief Unlock. @param[out] ec  EPERM this thread does not hold it; EINVAL, EBADF. */
	void unlock(std::error_code &ec) noexcept
	{
		died_ = false;
		ec = detail::error(mmalloc_unlock(handle_, word_));
	}

	/**
	 * @brief Did the last holder die without unlocking, so that the data may be half changed?
	 * @return Of the lock that this view holds; false when it holds none.
	 */
	bool owner_died() const noexcept
	{
		return died_;
	}

private:
	/* A minute at most per call, so that any duration fits. */
	template <class Duration> static unsigned wait_ms(const Duration &left) noexcept
	{
		using std::chrono::milliseconds;

		if (left <= Duration::zero())
			return 0;
		if (left >= std::chrono::minutes(1))
			return 60000;
		return static_cast<unsigned>(std::chrono::ceil<milliseconds>(left).count());
	}

	bool took(int result, std::error_code &ec) noexcept
	{
		ec.clear();
		if (result == 0 || result == EOWNERDEAD) {
			died_ = result != 0;
			return true;
		}
		if (result != EBUSY && result != ETIMEDOUT)
			ec = detail::error(result);
		return false;
	}

	bool require(int result)
	{
		std::error_code ec;
		const bool locked = took(result, ec);

		if (ec)
			detail::throw_error(ec);
		return locked;
	}

	void *handle_;
	lock_word *word_;
	bool died_ = false;
};

} // namespace mmalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* MMALLOC_LOCK_HPP */
