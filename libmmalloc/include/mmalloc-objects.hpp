/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file mmalloc-objects.hpp
 * @brief libmmalloc for C++17: the code of construct(), find() and the like.
 *
 * Part of <mmalloc.hpp>, which says how to use it.
 */
/* First, also when a program includes this header alone. */
#include <mmalloc.hpp>

#ifndef MMALLOC_OBJECTS_HPP
#define MMALLOC_OBJECTS_HPP

#include <algorithm>
#include <cstring>
#include <typeinfo>

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
inline constexpr std::uint32_t hash_begin = 0x811c9dc5u;

inline std::uint32_t hash_text(const char *text, std::uint32_t hash) noexcept
{
	for (; *text; text++)
		hash = (hash ^ static_cast<unsigned char>(*text)) * 0x01000193u;
	return hash;
}

/* Whose layout a class has that is more than plain bytes. */
inline constexpr char standard_library[] =
#if defined(_LIBCPP_VERSION)
	"libc++";
#elif defined(_GLIBCXX_DEBUG)
	"libstdc++ debug";
#elif defined(_GLIBCXX_USE_CXX11_ABI) && _GLIBCXX_USE_CXX11_ABI
	"libstdc++ cxx11";
#else
	"other";
#endif

/* Behind each named object: what find() compares. The same from each compiler. */
struct label {
	std::uint32_t shape; /* Size, alignment, standard library. */
	std::uint32_t name;  /* Of the type; 0: compiled without RTTI. */
};

template <class T> label label_of() noexcept
{
	label made{ hash_begin, 0 };

	if constexpr (!std::is_trivially_copyable_v<T>)
		made.shape = hash_text(standard_library, made.shape);
	made.shape ^= static_cast<std::uint32_t>(sizeof(T) * 0x9e3779b1u + alignof(T));
#if defined(__cpp_rtti) || defined(__GXX_RTTI)
	made.name = hash_text(typeid(T).name(), hash_begin) | 1u;
#endif
	return made;
}

template <class T>
inline constexpr std::size_t label_at = (sizeof(T) + alignof(label) - 1) / alignof(label) *
					alignof(label);

template <class T> bool has_label(void *handle, const void *object) noexcept
{
	const label expected = label_of<T>();
	label there;

	if (mmalloc_usable_size(handle, object) < label_at<T> + sizeof(label))
		return false;
	std::memcpy(&there, static_cast<const char *>(object) + label_at<T>, sizeof(there));
	return there.shape == expected.shape &&
	       (there.name == expected.name || there.name == 0 || expected.name == 0);
}

/* Does T take the allocator, last or first, beside Args? */
template <class T, class A, class... Args>
inline constexpr bool takes_last_v =
	std::conjunction_v<std::is_constructible<T, Args..., const A &>,
			   std::disjunction<std::uses_allocator<T, A>,
					    std::negation<std::is_constructible<T, Args...>>>>;
template <class T, class A, class... Args>
inline constexpr bool takes_first_v =
	std::conjunction_v<std::uses_allocator<T, A>,
			   std::is_constructible<T, std::allocator_arg_t, const A &, Args...>>;

#if defined(__GNUC__)
#pragma GCC diagnostic push /* As in a system header: how a program's arguments convert. */
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif
template <class T, class... Args> T *construct_plain(void *place, Args &&...args)
{
	if constexpr (std::is_constructible_v<T, Args...>)
		return ::new (place) T(std::forward<Args>(args)...);
	else
		return ::new (place) T{ std::forward<Args>(args)... };
}
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
} // namespace detail

/* Three errors are of these functions, not of the library, which has no sentence for them. */
[[noreturn]] inline void heap::raise(std::error_code code, const char *name) const
{
	if (!handle_)
		throw std::system_error(detail::error(EBADF),
					"heap: there is none; open one (EBADF)");
	if (code == detail::error(EEXIST))
		throw std::system_error(code, std::string(name) +
						      ": the name is taken; find the object, or "
						      "choose another name (EEXIST)");
	if (code == detail::error(EPROTOTYPE))
		throw std::system_error(code, std::string(name) +
						      ": the root is no object of this C++ type; "
						      "check the name (EPROTOTYPE)");
	if (code == detail::error(ENOMEM) || code == detail::error(ENOSPC))
		throw allocation_error(code, mmalloc_errmsg());
	detail::throw_error(code);
}

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif
template <class T, class... Args> T *heap::build(std::error_code &ec, Args &&...args)
{
	static_assert(may_be_stored_v<T>,
		      "this type must not lie in a heap: its bytes mean nothing "
		      "in another process");
	static_assert(!std::is_array_v<T>, "for arrays, construct a std::array or a vector");
	using A = allocator<std::byte>;
	constexpr std::size_t size = detail::label_at<T> + sizeof(detail::label);
	const detail::label label = detail::label_of<T>();
	detail::pending block(handle_, detail::take(handle_, size, alignof(T)));
	T *object = nullptr;

	ec = detail::code_of(!block.block);
	if (ec)
		return nullptr;
	if constexpr (detail::takes_last_v<T, A, Args...>) {
		const A own = get_allocator(ec);

		if (!ec)
			object = ::new (block.block) T(std::forward<Args>(args)..., own);
	} else if constexpr (detail::takes_first_v<T, A, Args...>) {
		const A own = get_allocator(ec);

		if (!ec)
			object = ::new (block.block)
				T(std::allocator_arg, own, std::forward<Args>(args)...);
	} else {
		object = detail::construct_plain<T>(block.block, std::forward<Args>(args)...);
	}
	if (!object)
		return nullptr;
	std::memcpy(static_cast<char *>(block.release()) + detail::label_at<T>, &label,
		    sizeof(label));
	return object;
}
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

template <class T> T *heap::checked(void *object, std::error_code &ec) const noexcept
{
	if (!detail::has_label<T>(handle_, object)) {
		ec = detail::error(EPROTOTYPE);
		return nullptr;
	}
	ec.clear();
	/* Another process may have made the anchor since this one opened the heap. */
	if (!entry_->anchor.load()) {
		const void *const anchor = mmalloc_getroot(handle_, detail::anchor_name);

		if (anchor)
			detail::registry::instance().set_anchor(entry_, anchor);
	}
	return static_cast<T *>(object);
}

template <class T> void heap::dispose(T *object) noexcept
{
	if (!object)
		return;
	object->~T();
	detail::pending(handle_, object).free();
}

template <class T, class... Args> T *heap::create(Args &&...args)
{
	std::error_code ec;
	T *const made = build<T>(ec, std::forward<Args>(args)...);

	if (!made)
		raise(ec, "");
	return made;
}

template <class T, class... Args>
T *heap::construct(std::error_code &ec, const char *name, Args &&...args)
{
	void *seen = nullptr;
	T *made;
	int done;

	if (root(name)) {
		ec = detail::error(EEXIST);
		return nullptr;
	}
	if (errno != ENOENT) {
		ec = detail::last_error();
		return nullptr;
	}
	made = build<T>(ec, std::forward<Args>(args)...);
	if (!made)
		return nullptr;
	done = mmalloc_casroot(handle_, name, &seen, made);
	if (done == 1)
		return made;
	ec = done == 0 ? detail::error(EEXIST) : detail::last_error();
	dispose(made);
	return nullptr;
}

template <class T> T *heap::find(const char *name, std::error_code &ec) const noexcept
{
	void *const there = root(name);

	if (there)
		return checked<T>(there, ec);
	ec = detail::code_of(errno != ENOENT);
	return nullptr;
}

template <class T, class... Args>
T *heap::find_or_construct(std::error_code &ec, const char *name, Args &&...args)
{
	T *const there = find<T>(name, ec);
	void *seen = nullptr;
	T *made;
	int done;

	if (there || ec)
		return there;
	made = build<T>(ec, std::forward<Args>(args)...);
	if (!made)
		return nullptr;
	done = mmalloc_casroot(handle_, name, &seen, made);
	if (done == 1)
		return made;
	ec = detail::code_of(done < 0);
	dispose(made);
	return done < 0 ? nullptr : checked<T>(seen, ec);
}

template <class T> bool heap::destroy(const char *name, std::error_code &ec) noexcept
{
	for (;;) {
		T *const object = find<T>(name, ec);
		void *seen = object;
		int done;

		if (!object)
			return false;
		done = mmalloc_casroot(handle_, name, &seen, nullptr);
		if (done == 1)
			dispose(object);
		if (done == 0)
			continue; /* Another caller destroyed it, or put another one there. */
		ec = detail::code_of(done < 0);
		return done == 1;
	}
}

template <class T, class... Args> T *heap::construct(const char *name, Args &&...args)
{
	std::error_code ec;
	T *const made = construct<T>(ec, name, std::forward<Args>(args)...);

	if (!made)
		raise(ec, name);
	return made;
}

template <class T> T *heap::find(const char *name) const
{
	std::error_code ec;
	T *const there = find<T>(name, ec);

	if (ec)
		raise(ec, name);
	return there;
}

template <class T, class... Args> T *heap::find_or_construct(const char *name, Args &&...args)
{
	std::error_code ec;
	T *const there = find_or_construct<T>(ec, name, std::forward<Args>(args)...);

	if (!there)
		raise(ec, name);
	return there;
}

template <class T> bool heap::destroy(const char *name)
{
	std::error_code ec;
	const bool done = destroy<T>(name, ec);

	if (ec)
		raise(ec, name);
	return done;
}
/** @endcond */

} // namespace mmalloc
} // namespace mapalloc

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif /* MMALLOC_OBJECTS_HPP */
