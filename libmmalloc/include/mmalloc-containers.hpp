/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-containers.hpp
 * @brief libmmalloc for C++17: the standard containers, in a heap.
 *
 * Part of <mmalloc.hpp>, which says how to use it.
 */
/* First, also when a program includes this header alone. */
#include <mmalloc.hpp>

#ifndef MMALLOC_CONTAINERS_HPP
#define MMALLOC_CONTAINERS_HPP

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace mapalloc
{
namespace mmalloc
{

/** @brief std::string in a heap. */
using string = std::basic_string<char, std::char_traits<char>, allocator<char>>;

/**
 * @brief A hash of strings that every compiler, library and release computes alike, as a file
 * needs: FNV-1a.
 */
struct string_hash {
	/** @brief Look-ups need not make a string (C++20). */
	using is_transparent = void;
	/** @brief The hash. @param[in] text  Of it. @return It. */
	std::size_t operator()(std::string_view text) const noexcept
	{
		std::uint64_t hash = 0xcbf29ce484222325u;

		for (const char c : text)
			hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
		return static_cast<std::size_t>(hash);
	}
};

/** @brief An order of strings, whatever their allocators: look-ups need not make a key. */
struct string_less {
	/** @brief It takes all that is like a string. */
	using is_transparent = void;
	/** @brief The order. @param[in] a  One. @param[in] b  Another one. @return a < b. */
	bool operator()(std::string_view a, std::string_view b) const noexcept
	{
		return a < b;
	}
};

/** @brief Equality of strings, whatever their allocators. */
struct string_equal {
	/** @brief It takes all that is like a string. */
	using is_transparent = void;
	/** @brief Equal? @param[in] a  One. @param[in] b  Another one. @return a == b. */
	bool operator()(std::string_view a, std::string_view b) const noexcept
	{
		return a == b;
	}
};

/** @cond */
namespace detail
{
template <class K> inline constexpr bool is_string_v = std::is_same_v<K, string>;
template <class K> using less = std::conditional_t<is_string_v<K>, string_less, std::less<>>;
template <class K> using hash = std::conditional_t<is_string_v<K>, string_hash, std::hash<K>>;
template <class K> using equal = std::conditional_t<is_string_v<K>, string_equal, std::equal_to<>>;
} // namespace detail
/** @endcond */

/** @brief std::vector in a heap. */
template <class T> using vector = std::vector<T, allocator<T>>;
/** @brief std::list in a heap. */
template <class T> using list = std::list<T, allocator<T>>;
/** @brief std::set in a heap. Look-ups need not make a key. */
template <class K, class Less = detail::less<K>> using set = std::set<K, Less, allocator<K>>;
/** @brief std::map in a heap. Look-ups need not make a key. */
template <class K, class V, class Less = detail::less<K>>
using ordered_map = std::map<K, V, Less, allocator<std::pair<const K, V>>>;
/** @brief std::unordered_map in a heap. */
template <class K, class V, class Hash = detail::hash<K>, class Equal = detail::equal<K>>
using unordered_map = std::unordered_map<K, V, Hash, Equal, allocator<std::pair<const K, V>>>;

} // namespace mmalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* MMALLOC_CONTAINERS_HPP */
