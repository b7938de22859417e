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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/env.h"
#include "common/fd.h"

#include "early.h"
#include "shim_fast.h"

#define HIGH_FLOOR  64
#define LIBC_MAPPED ((size_t)2)

#define UNREADY  1u
#define COUNTING 2u

static _Atomic unsigned state = UNREADY;
static _Atomic bool begun;
static _Atomic uint64_t calls;
static _Atomic bool summed_up;
static _Atomic pid_t process;
static bool unserved;
static const char *other_allocator;
static _Atomic int stats_fd = -1;
static struct ma_fd_id stats_id;

/* ---- small services ---- */

static void write_line(int fd, const char *format, va_list args)
{
	MA_UNCANCELLED;
	char line[1200];
	int saved = errno;
	size_t used = (size_t)snprintf(line, sizeof(line), "%s: ", shim_name);
	int n = vsnprintf(line + used, sizeof(line) - used - 1, format, args);

	used += ma_min(n < 0 ? 0 : (size_t)n, sizeof(line) - used - 2);
	line[used++] = '\n';
	if (write(fd, line, used) < 0)
		errno = 0; /* No descriptor to write to. */
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
	int high = fcntl(fd, F_DUPFD_CLOEXEC, ma_fd_floor());

	if (high < 0) /* As many are open, or allowed. */
		high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FLOOR);
	if (high < 0)
		return fd;
	syscall(SYS_close, fd);
	return high;
}

bool shim_is_served(void)
{
	return !unserved;
}

/* ---- the summary ---- */

/*
 * Programs close stderr before they exit (the C library's fclose() does not come by us), so there is a descriptor of our own: until the
 * program gives stderr up, for then a process may wait for its end. Afterwards stderr itself serves, when it is the same file again.
 */
void shim_stderr_changed(void)
{
	int saved = errno, fd = ma_load(&stats_fd);

	/* Pairs with run/shim.c:open_stats. */
	if (fd >= 0 && shim_is_this_process() && atomic_compare_exchange_strong(&stats_fd, &fd, -1))
		ma_fd_close(fd, stats_id);
	errno = saved;
}

static int stats_descriptor(void)
{
	int fd = ma_load_acquire(&stats_fd); /* Pairs with run/shim.c:open_stats. */

	if (fd >= 0 && ma_fd_is(fd, stats_id))
		return fd;
	return stats_id.inode && ma_fd_is(STDERR_FILENO, stats_id) ? STDERR_FILENO : -1;
}

static void sum_up(void)
{
	int fd = stats_descriptor();
	char text[1000] = "";

	if (fd < 0 || !shim_is_this_process() || atomic_exchange_explicit(&summed_up, true, memory_order_relaxed))
		return;
	shim_figures(text, sizeof(text));
	say_to(fd, "%s[%d]: %llu calls%s%s", program_invocation_short_name, (int)getpid(),
	       (unsigned long long)ma_load(&calls),
	       *text ? ", " : "; it ended within a call, so there are no other figures", text);
}

__attribute__((destructor)) static void at_exit(void)
{
	sum_up();
	if (shim_is_this_process())
		shim_end();
}

/* exit() does not come by here, as it calls the C library's own. */
static _Noreturn void leave(int status, void (*next)(int status))
{
	sum_up();
	if (shim_is_this_process())
		shim_end();
	if (next)
		next(status);
	for (;;)
		syscall(SYS_exit_group, status);
}

SHIM_EXPORT void _exit(int status)
{
	leave(status, shim_next._exit);
}

SHIM_EXPORT void _Exit(int status)
{
	leave(status, shim_next._Exit);
}

static void forked(void)
{
	ma_store(&process, getpid());
	ma_store(&calls, 0);
	ma_store(&summed_up, false);
	if (!ma_fd_is(STDERR_FILENO, stats_id))
		shim_stderr_changed();
}

/* ---- beginning ---- */

static bool wants_stats(void)
{
	const char *text = ma_env("MAPALLOC_RUN_STATS");

	return text && *text;
}

/* Its description is the program's, too, and gets no mark. */
static void open_stats(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, ma_fd_floor());
	struct stat st;

	if (fd < 0)
		fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, HIGH_FLOOR);
	if (fd >= 0 && fstat(fd, &st) == 0)
		stats_id = (struct ma_fd_id){ .device = st.st_dev, .inode = st.st_ino };
	ma_store_release(&stats_fd, fd); /* Pairs with run/shim.c:stats_descriptor. */
}

static void begin(void)
{
	unsigned mode = 0;

	ma_store(&process, getpid());
	shim_find_next();
	other_allocator = shim_other_allocator();
	/* Before there is a heap: a sanitizer's program has no room for one. */
	if (other_allocator) {
		unserved = true;
		ma_store_release(&state, 0); /* Pairs with run/shim.c:enter. */
		return;
	}
	if (wants_stats())
		open_stats();
	if (ma_load(&stats_fd) >= 0)
		mode = COUNTING;
	shim_begin();
	pthread_atfork(NULL, NULL, forked);
	at_quick_exit(at_exit);
	ma_store_release(&state, mode); /* Pairs with run/shim.c:enter. */
	if (mode == 0)
		shim_allow_fast();
}

static MA_NOINLINE void enter_slow(unsigned mode)
{
	int saved = errno;

	if (mode & UNREADY) {
		shim_prepare();
		if (environ && !atomic_exchange_explicit(&begun, true, memory_order_relaxed))
			begin();
	}
	if (mode & COUNTING)
		atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	errno = saved;
}

MA_INLINE void enter(void)
{
	unsigned mode = ma_load_acquire(&state); /* Pairs with run/shim.c:begin. */

	if (MA_UNLIKELY(mode))
		enter_slow(mode);
}

__attribute__((constructor)) static void at_start(void)
{
	enter();
	if (unserved)
		shim_say("%s: it has an allocator of its own (%s) and keeps it: the program runs, but is not served",
			 program_invocation_short_name, other_allocator);
}

/* ---- the calls ---- */

MA_INLINE void *given(void *block)
{
	if (MA_UNLIKELY(!block))
		errno = ENOMEM;
	return block;
}

MA_INLINE bool is_undecided(void)
{
	return MA_UNLIKELY(ma_load(&state) & UNREADY);
}

MA_INLINE bool is_absurd(size_t size)
{
	return MA_UNLIKELY(size > PTRDIFF_MAX);
}

static MA_NOINLINE void *malloc_slow(size_t size)
{
	enter();
	if (MA_UNLIKELY(unserved))
		return shim_next.malloc(size);
	if (is_undecided())
		return given(shim_note_early(__libc_malloc(size), size));
	return given(is_absurd(size) ? NULL : shim_new(size + !size));
}

SHIM_EXPORT MA_HOT void *malloc(size_t size)
{
	void *block = shim_new_fast(size);

	return MA_LIKELY(block != NULL) ? block : malloc_slow(size);
}

SHIM_EXPORT void *calloc(size_t nmemb, size_t size)
{
	void *block;
	size_t bytes;
	bool fits = !__builtin_mul_overflow(nmemb, size, &bytes);

	block = fits ? shim_new_fast(bytes) : NULL;
	if (MA_LIKELY(block != NULL))
		return memset(block, 0, bytes);
	enter();
	if (MA_UNLIKELY(unserved))
		return shim_next.calloc(nmemb, size);
	if (!fits || is_absurd(bytes))
		return given(NULL);
	if (is_undecided())
		return given(shim_note_early(__libc_calloc(1, bytes), bytes));
	return given(shim_zeroed(bytes + !bytes));
}

static MA_NOINLINE void free_slow(void *ptr)
{
	int saved = errno;
	struct early *e;

	enter();
	if (!ptr)
		return;
	e = shim_early_of(ptr);
	if (MA_UNLIKELY(e != NULL))
		shim_free_early(e);
	else if (MA_UNLIKELY(unserved))
		shim_next.free(ptr);
	else
		shim_give(ptr);
	errno = saved;
}

SHIM_EXPORT MA_HOT void free(void *ptr)
{
	if (!MA_LIKELY(shim_give_fast(ptr)))
		free_slow(ptr);
}

SHIM_EXPORT void cfree(void *ptr);
SHIM_EXPORT void cfree(void *ptr)
{
	free(ptr);
}

static void *move_early(struct early *e, size_t size)
{
	void *to = malloc(size);

	if (!to)
		return NULL;
	memcpy(to, e->block, ma_min(size, e->bytes));
	shim_free_early(e);
	return to;
}

SHIM_EXPORT void *realloc(void *ptr, size_t size)
{
	struct early *e;

	if (!ptr)
		return malloc(size);
	if (size == 0) {
		free(ptr);
		return NULL;
	}
	enter();
	e = shim_early_of(ptr);
	if (MA_UNLIKELY(e != NULL))
		return move_early(e, size);
	if (MA_UNLIKELY(unserved))
		return shim_next.realloc(ptr, size);
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
	if (is_absurd(size) || is_absurd(alignment) || size > PTRDIFF_MAX - alignment)
		return NULL;
	if (is_undecided())
		return shim_note_early(__libc_memalign(alignment, size), size);
	return shim_aligned(alignment, size + !size);
}

/* What is no power of two is rounded up to one, as the C library does. */
SHIM_EXPORT void *memalign(size_t alignment, size_t size)
{
	size_t power = 16;

	enter();
	if (MA_UNLIKELY(unserved && shim_next.memalign))
		return shim_next.memalign(alignment, size);
	while (power < alignment && power <= PTRDIFF_MAX)
		power *= 2;
	return given(aligned(power, size));
}

SHIM_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	if (MA_UNLIKELY(unserved && shim_next.aligned_alloc))
		return shim_next.aligned_alloc(alignment, size);
	return memalign(alignment, size);
}

SHIM_EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
	int saved = errno;
	void *fresh;

	enter();
	if (MA_UNLIKELY(unserved && shim_next.posix_memalign))
		return shim_next.posix_memalign(block, alignment, size);
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
	if (MA_UNLIKELY(unserved && shim_next.valloc))
		return shim_next.valloc(size);
	return memalign(MA_PAGE, size);
}

SHIM_EXPORT void *pvalloc(size_t size)
{
	if (MA_UNLIKELY(unserved && shim_next.pvalloc))
		return shim_next.pvalloc(size);
	return size > PTRDIFF_MAX - MA_PAGE ? given(NULL) : memalign(MA_PAGE, ma_up(size, MA_PAGE));
}

/*
 * The C library keeps the size of a block's chunk in front of it, with three bits of another sort. A chunk that it mapped by itself ends
 * with the block; any other has the next one's first word, too.
 */
static size_t libc_room(const void *ptr)
{
	size_t head = ((const size_t *)ptr)[-1];

	return (head & ~(size_t)7) - (head & LIBC_MAPPED ? 2 : 1) * sizeof(size_t);
}

SHIM_EXPORT size_t malloc_usable_size(void *ptr)
{
	int saved = errno;
	struct early *e;
	size_t room;

	enter();
	e = shim_early_of(ptr);
	if (MA_UNLIKELY(e != NULL))
		return e->bytes;
	if (MA_UNLIKELY(unserved && shim_next.malloc_usable_size))
		return shim_next.malloc_usable_size(ptr);
	room = ptr ? shim_room(ptr) : 0;
	if (ptr && room == 0 && !shim_holds(ptr))
		room = libc_room(ptr);
	errno = saved;
	return room;
}

/* ---- ours, whatever else defines the names ---- */

/* gcc wants the same attributes of an alias as the C library's header gives the name. */
#if __has_attribute(copy)
#define SAME_AS(name) copy(name),
#else
#define SAME_AS(name)
#endif
#define OURS(name) extern __typeof__(name) shim_##name __attribute__((alias(#name), SAME_AS(name) visibility("hidden")))
OURS(malloc);
OURS(calloc);
OURS(realloc);
OURS(free);
