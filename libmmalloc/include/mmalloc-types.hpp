/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-types.hpp
 * @brief libmmalloc for C++17: which types may lie in a heap, and how they get an allocator.
 *
 * Part of <mmalloc.hpp>, which says how to use it.
 */
#ifndef MMALLOC_TYPES_HPP
#define MMALLOC_TYPES_HPP

#if !defined(__cplusplus) || __cplusplus < 201703L
#error "mmalloc.hpp is for C++17 and later; a C program includes mmalloc.h"
#endif

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
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
template <class T> struct type_is {
	using type = T;
};

template <class T> struct is_pair : std::false_type {
};
template <class A, class B> struct is_pair<std::pair<A, B>> : std::true_type {
};

/* What T is constructed from, as a tuple: the arguments, and the allocator if T takes it. */
template <class T, class A, class... Args> auto own_arguments(const A &own, Args &&...args)
{
	if constexpr (!std::uses_allocator_v<T, A>)
		return std::tuple<Args &&...>(std::forward<Args>(args)...);
	else if constexpr (std::is_constructible_v<T, std::allocator_arg_t, const A &, Args...>)
		return std::tuple<std::allocator_arg_t, const A &, Args &&...>(
			std::allocator_arg, own, std::forward<Args>(args)...);
	else
		return std::tuple<Args &&..., const A &>(std::forward<Args>(args)..., own);
}

template <class T, class A, class First, class Second>
auto pair_arguments(const A &own, First &&first, Second &&second)
{
	const auto with = [&own](auto type, auto &&values) {
		return std::apply(
			[&own](auto &&...all) {
				return own_arguments<typename decltype(type)::type>(
					own, std::forward<decltype(all)>(all)...);
			},
			std::forward<decltype(values)>(values));
	};

	return std::make_tuple(std::piecewise_construct,
			       with(type_is<typename T::first_type>(), std::move(first)),
			       with(type_is<typename T::second_type>(), std::move(second)));
}

template <class T, class A> auto arguments_of_pair(const A &own)
{
	return pair_arguments<T>(own, std::tuple<>(), std::tuple<>());
}
template <class T, class A, class X, class Y>
auto arguments_of_pair(const A &own, std::piecewise_construct_t, X &&x, Y &&y)
{
	return pair_arguments<T>(own, std::forward<X>(x), std::forward<Y>(y));
}
template <class T, class A, class X, class Y> auto arguments_of_pair(const A &own, X &&x, Y &&y)
{
	return pair_arguments<T>(own, std::forward_as_tuple(std::forward<X>(x)),
				 std::forward_as_tuple(std::forward<Y>(y)));
}
template <class T, class A, class P> auto arguments_of_pair(const A &own, P &&pair)
{
	return arguments_of_pair<T>(own, std::get<0>(std::forward<P>(pair)),
				    std::get<1>(std::forward<P>(pair)));
}

template <class T, class A, class... Args> auto arguments(const A &own, Args &&...args)
{
	if constexpr (is_pair<T>::value)
		return arguments_of_pair<T>(own, std::forward<Args>(args)...);
	else
		return own_arguments<T>(own, std::forward<Args>(args)...);
}

template <class A> struct is_process_allocator : std::false_type {
};
template <class T> struct is_process_allocator<std::allocator<T>> : std::true_type {
};
#if __has_include(<memory_resource>)
template <class T>
struct is_process_allocator<std::pmr::polymorphic_allocator<T>> : std::true_type {
};
#endif

template <class T, class = void> struct has_process_allocator : std::false_type {
};
template <class T>
struct has_process_allocator<T, std::void_t<typename T::allocator_type>>
    : is_process_allocator<typename T::allocator_type> {
};

template <class T>
inline constexpr bool is_code_pointer_v =
	std::is_function_v<std::remove_pointer_t<T>> || std::is_member_function_pointer_v<T>;
} // namespace detail
/** @endcond */

/**
 * @brief May an object of this type lie in a heap? False for types that would break in another
 * process, where the compiler can see it.
 *
 * False: references, functions, pointers to functions and member functions; classes with virtual
 * functions; containers with std::allocator or a pmr allocator; std::function, std::shared_ptr,
 * std::weak_ptr, std::unique_ptr with std::default_delete; mutexes of the standard library. For
 * std::pair, std::tuple, std::array, std::optional and arrays, each element counts. The compiler
 * cannot see members of other classes. A program may specialise it for its own types.
 * @tparam T  The type.
 */
template <class T>
struct may_be_stored : std::bool_constant<!std::is_reference_v<T> && !std::is_polymorphic_v<T> &&
					  !detail::is_code_pointer_v<T> &&
					  !detail::has_process_allocator<T>::value> {
};
/** @cond */
template <class T> struct may_be_stored<const T> : may_be_stored<T> {
};
template <class T> struct may_be_stored<T[]> : may_be_stored<T> {
};
template <class T, std::size_t N> struct may_be_stored<T[N]> : may_be_stored<T> {
};
template <class T, std::size_t N> struct may_be_stored<const T[N]> : may_be_stored<T> {
};
template <class T, std::size_t N> struct may_be_stored<std::array<T, N>> : may_be_stored<T> {
};
template <class T> struct may_be_stored<std::optional<T>> : may_be_stored<T> {
};
template <class A, class B>
struct may_be_stored<std::pair<A, B>> : std::conjunction<may_be_stored<A>, may_be_stored<B>> {
};
template <class... Ts>
struct may_be_stored<std::tuple<Ts...>> : std::conjunction<may_be_stored<Ts>...> {
};
template <class T> struct may_be_stored<std::function<T>> : std::false_type {
};
template <class T> struct may_be_stored<std::shared_ptr<T>> : std::false_type {
};
template <class T> struct may_be_stored<std::weak_ptr<T>> : std::false_type {
};
template <class T> struct may_be_stored<std::unique_ptr<T>> : std::false_type {
};
template <> struct may_be_stored<std::mutex> : std::false_type {
};
template <> struct may_be_stored<std::recursive_mutex> : std::false_type {
};
template <> struct may_be_stored<std::timed_mutex> : std::false_type {
};
template <> struct may_be_stored<std::recursive_timed_mutex> : std::false_type {
};
/** @endcond */

/** @brief The value of may_be_stored. */
template <class T> inline constexpr bool may_be_stored_v = may_be_stored<T>::value;

} // namespace mmalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* MMALLOC_TYPES_HPP */
