/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's sentence is in a page of its own, which it gets at its first failure: the first thread that fails has one that is
 * always there, others map one. The page is returned when the thread ends. When there is no memory for a page (or no key that
 * would return it), the sentence is lost, and a fixed text stands for it.
 *
 * One write(2) a line, so that lines of several processes do not mix.
 */
#include "common/error.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common/cancel.h"

#include "common/env.h"
#include "common/stamp.h"

#define ON_STACK 1024
#define NAMED    "%s: " /* So the format of a sentence about a file begins. */
#define COLON    2      /* Bytes behind the name. */

_Thread_local struct ma_last_failure ma_last_failure __attribute__((tls_model("initial-exec")));

static char first_text[MA_PAGE];
static atomic_bool first_taken;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool has_key;
static const char *program = MA_LIBRARY;

/* ---- where the sentence is ---- */

static void drop(void *text)
{
	if (text == first_text)
		/* Pairs with common/error.c:new_text. */
		atomic_store_explicit(&first_taken, false, memory_order_release);
	else
		munmap(text, MA_PAGE);
}

static void thread_ends(void *text)
{
	ma_last_failure = (struct ma_last_failure){ 0 };
	drop(text);
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, thread_ends) == 0;
}

/* Early, so that the key's number is small: pthread_setspecific() allocates for large ones. */
__attribute__((constructor)) static void early(void)
{
	pthread_once(&once, make_key);
}

static char *new_text(void)
{
	void *page;

	if (!atomic_exchange_explicit(&first_taken, true, memory_order_acquire)) /* Pairs with common/error.c:drop. */
		return memset(first_text, 0, sizeof(first_text));
	page = mmap(NULL, MA_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? NULL : page;
}

/* This thread's text; NULL: no memory. */
static char *find_text(void)
{
	char *text = ma_last_failure.text;

	if (MA_LIKELY(text))
		return text;
	pthread_once(&once, make_key);
	if (!has_key)
		return NULL;
	text = new_text();
	if (!text)
		return NULL;
	ma_last_failure.text = text;
	if (pthread_setspecific(key, text) == 0)
		return text;
	ma_last_failure.text = NULL;
	drop(text);
	return NULL;
}

char *ma_error_text(void)
{
	int saved = errno;
	char *text = find_text();

	errno = saved;
	return text;
}

void *ma_error_extra(void)
{
	char *text = ma_error_text();

	return text ? text + MA_ERROR_TEXT : NULL;
}

bool ma_last_error(struct ma_error *error)
{
	const struct ma_last_failure *last = &ma_last_failure;
	size_t before = last->name_bytes ? last->name_bytes + (size_t)COLON : 0;

	if (!last->fresh || last->lost)
		return false;
	*error = (struct ma_error){ last->number, last->text, last->name_bytes, last->text + before, last->text_bytes };
	return true;
}

void ma_error_clear(void)
{
	ma_last_failure.fresh = false;
}

const char *ma_errmsg(void)
{
	if (!ma_last_failure.fresh)
		return "no call of this thread has failed";
	if (ma_last_failure.lost)
		return "a call failed: no memory was left to describe it; free memory, repeat the call to learn more";
	return ma_last_failure.text;
}

/* ---- what it says ---- */

bool ma_env_on(const char *what)
{
	char name[48];
	const char *value;

	snprintf(name, sizeof(name), "%s_%s", program, what);
	for (char *c = name; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	value = ma_env(name);
	return value && *value && strcmp(value, "0") != 0;
}

/* 0: not looked up yet. */
static _Atomic int debug;

bool ma_debug_on(void)
{
	if (MA_UNLIKELY(!ma_load(&debug)))
		ma_store(&debug, ma_env_on("DEBUG") ? 1 : -1);
	return ma_load(&debug) > 0;
}

void ma_error_set_program(const char *name)
{
	program = name;
	ma_store(&debug, 0);
}

/* The sentence without its errno, cut off where the space for it ends. Returns its length. */
static size_t describe(char *text, size_t size, const char *format, va_list args)
{
	int n = vsnprintf(text, size - 32, format, args);

	return n < 0 ? 0 : ma_min((size_t)n, size - 33);
}

static size_t add_number(char *text, size_t size, size_t used, int err)
{
	const char *name = err ? strerrorname_np(err) : NULL;

	if (name)
		used += (size_t)snprintf(text + used, size - used, " (%.24s)", name);
	else if (err)
		used += (size_t)snprintf(text + used, size - used, " (errno %d)", err);
	text[used] = '\0';
	return used;
}

static size_t compose(char *text, size_t size, int err, const char *format, va_list args)
{
	return add_number(text, size, describe(text, size, format, args), err);
}

static size_t prefix(char *to, size_t size, bool stamped)
{
	char stamp[MA_STAMP] = "";

	if (stamped)
		ma_stamp(stamp);
	return (size_t)snprintf(to, size, "%s[%d]%s%s: ", program, (int)getpid(), stamped ? " " : "", stamp);
}

static void print(const char *line, size_t bytes)
{
	MA_UNCANCELLED;
	if (write(STDERR_FILENO, line, bytes) < 0)
		return; /* No descriptor to write to. */
}

MA_NOINLINE static void say(int err, bool stamped, const char *format, va_list args)
{
	char line[ON_STACK];
	size_t used = prefix(line, sizeof(line), stamped);

	used += compose(line + used, sizeof(line) - used - 1, err, format, args);
	line[used++] = '\n';
	print(line, used);
}

/* The length of the name that the sentence begins with. */
static size_t name_length(size_t used, const char *format, va_list args)
{
	const char *name = strncmp(format, NAMED, sizeof(NAMED) - 1) == 0 ? va_arg(args, const char *) : NULL;
	size_t bytes = name ? strlen(name) : 0;

	return bytes + COLON <= used ? bytes : 0;
}

static void keep(int err, const char *format, va_list args)
{
	struct ma_last_failure *last = &ma_last_failure;
	char *text = find_text();
	size_t used, name;
	va_list again;

	last->lost = !text;
	last->fresh = true;
	if (!text)
		return;
	va_copy(again, args);
	used = describe(text, MA_ERROR_TEXT, format, args);
	name = name_length(used, format, again);
	va_end(again);
	add_number(text, MA_ERROR_TEXT, used, err);
	last->number = err;
	last->name_bytes = (uint16_t)name;
	last->text_bytes = (uint16_t)(name ? used - name - COLON : used);
}

int ma_fail(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep(err, format, args);
	va_end(args);
	if (MA_UNLIKELY(ma_debug_on())) {
		va_start(args, format);
		say(err, true, format, args);
		va_end(args);
	}
	errno = err;
	return -1;
}

int ma_fail_quiet(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	keep(err, format, args);
	va_end(args);
	errno = err;
	return -1;
}

void ma_debug(const char *format, ...)
{
	int saved = errno;

	if (MA_UNLIKELY(ma_debug_on())) {
		va_list args;

		va_start(args, format);
		say(0, true, format, args);
		va_end(args);
	}
	errno = saved;
}

void ma_say(const char *format, ...)
{
	int saved = errno;
	va_list args;

	va_start(args, format);
	say(0, false, format, args);
	va_end(args);
	errno = saved;
}
