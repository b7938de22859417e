/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocation calls of the C library, as it defines them: a block even for size 0, NULL with ENOMEM, free() that keeps errno.
 * And the summary at exit.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HIGH_FLOOR 64

#define UNREADY  1u
#define COUNTING 2u

static _Atomic unsigned state = UNREADY;
static _Atomic bool begun;
static _Atomic uint64_t calls;
static _Atomic bool summed_up;
static _Atomic pid_t process;
int shim_stats_fd = -1;

/* ---- small services ---- */

static void write_line(int fd, const char *format, va_list args)
{
	char line[1200];
	int saved = errno;
	size_t used = (size_t)snprintf(line, sizeof(line), "%s: ", shim_name);
	int n = vsnprintf(line + used, sizeof(line) - used - 1, format, args);

	used += ma_min(n < 0 ? 0 : (size_t)n, sizeof(line) - used - 2);
	line[used++] = '\n';
	if (write(fd, line, used) < 0)
		errno = 0; /* Nobody to tell. */
	errno = saved;
}

void shim_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(STDERR_FILENO, format, args);
	va_end(args);
}

static void say_to(int fd, const char *format, ...) MA_PRINTF(2, 3);
static void say_to(int fd, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(fd, format, args);
	va_end(args);
}

bool shim_is_this_process(void)
{
	return ma_load(&process) == getpid();
}

int shim_move(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FLOOR);

	if (high < 0)
		return fd;
	syscall(SYS_close, fd);
	return high;
}

/* ---- the summary ---- */

/* Programs close stderr before they exit, so it goes to a descriptor of our own. */
static void sum_up(void)
{
	char text[1000] = "";

	if (shim_stats_fd < 0 || !shim_is_this_process() || atomic_exchange(&summed_up, true))
		return;
	shim_figures(text, sizeof(text));
	say_to(shim_stats_fd, "%s[%d]: %llu calls, %s", program_invocation_short_name, (int)getpid(),
	       (unsigned long long)ma_load(&calls), text);
}

__attribute__((destructor)) static void at_exit(void)
{
	sum_up();
}

/* exit() does not come by here, as it calls the C library's own. */
SHIM_EXPORT void _exit(int status)
{
	sum_up();
	for (;;)
		syscall(SYS_exit_group, status);
}

SHIM_EXPORT void _Exit(int status)
{
	_exit(status);
}

static void forked(void)
{
	ma_store(&process, getpid());
	ma_store(&calls, 0);
	ma_store(&summed_up, false);
}

/* ---- beginning ---- */

static bool wants_stats(void)
{
	const char *text = secure_getenv("MAPALLOC_RUN_STATS");

	return text && *text;
}

static void begin(void)
{
	unsigned mode = 0;

	ma_store(&process, getpid());
	if (wants_stats())
		shim_stats_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, HIGH_FLOOR);
	if (shim_stats_fd >= 0)
		mode = COUNTING;
	shim_begin();
	pthread_atfork(NULL, NULL, forked);
	ma_store_release(&state, mode);
}

static MA_NOINLINE void enter_slow(unsigned mode)
{
	int saved = errno;

	if (mode & UNREADY) {
		shim_prepare();
		if (environ && !atomic_exchange(&begun, true))
			begin();
	}
	if (mode & COUNTING)
		atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	errno = saved;
}

MA_INLINE void enter(void)
{
	unsigned mode = ma_load_acquire(&state);

	if (MA_UNLIKELY(mode))
		enter_slow(mode);
}

__attribute__((constructor)) static void at_start(void)
{
	enter();
}

/* ---- the calls ---- */

MA_INLINE void *given(void *block)
{
	if (MA_UNLIKELY(!block))
		errno = ENOMEM;
	return block;
}

MA_INLINE bool is_absurd(size_t size)
{
	return MA_UNLIKELY(size > PTRDIFF_MAX);
}

SHIM_EXPORT void *malloc(size_t size)
{
	enter();
	return given(is_absurd(size) ? NULL : shim_new(size + !size));
}

SHIM_EXPORT void *calloc(size_t nmemb, size_t size)
{
	size_t bytes;

	enter();
	if (__builtin_mul_overflow(nmemb, size, &bytes) || is_absurd(bytes))
		return given(NULL);
	return given(shim_zeroed(bytes + !bytes));
}

SHIM_EXPORT void free(void *ptr)
{
	int saved = errno;

	enter();
	if (!ptr)
		return;
	shim_give(ptr);
	errno = saved;
}

SHIM_EXPORT void cfree(void *ptr);
SHIM_EXPORT void cfree(void *ptr)
{
	free(ptr);
}

SHIM_EXPORT void *realloc(void *ptr, size_t size)
{
	if (!ptr)
		return malloc(size);
	if (size == 0) {
		free(ptr);
		return NULL;
	}
	enter();
	return given(is_absurd(size) ? NULL : shim_resize(ptr, size));
}

SHIM_EXPORT void *reallocarray(void *ptr, size_t nmemb, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(nmemb, size, &bytes))
		return given(NULL);
	return realloc(ptr, bytes);
}

static void *aligned(size_t alignment, size_t size)
{
	enter();
	if (is_absurd(size) || is_absurd(alignment) || size > PTRDIFF_MAX - alignment)
		return NULL;
	return shim_aligned(alignment, size + !size);
}

/* What is no power of two is rounded up to one, as the C library does. */
SHIM_EXPORT void *memalign(size_t alignment, size_t size)
{
	size_t power = 16;

	while (power < alignment && power <= PTRDIFF_MAX)
		power *= 2;
	return given(aligned(power, size));
}

SHIM_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

SHIM_EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
	int saved = errno;
	void *fresh;

	if (!ma_is_pow2(alignment) || alignment < sizeof(void *))
		return EINVAL;
	fresh = aligned(ma_max(alignment, 16), size);
	errno = saved;
	if (!fresh)
		return ENOMEM;
	*block = fresh;
	return 0;
}

SHIM_EXPORT void *valloc(size_t size)
{
	return memalign(MA_PAGE, size);
}

SHIM_EXPORT void *pvalloc(size_t size)
{
	return size > PTRDIFF_MAX - MA_PAGE ? given(NULL) : memalign(MA_PAGE, ma_up(size, MA_PAGE));
}

SHIM_EXPORT size_t malloc_usable_size(void *ptr)
{
	int saved = errno;
	size_t room;

	enter();
	room = ptr ? shim_room(ptr) : 0;
	errno = saved;
	return room;
}
