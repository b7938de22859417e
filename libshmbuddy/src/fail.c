/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Failures of calls that a signal handler may make. What happened is kept as it is, the format and its arguments, in the thread's own
 * words: no memory, no stdio. shmbuddy_errmsg() makes the sentence of it later; a debug line is made here at once, by the same
 * few lines, and written by one write(2).
 *
 * Formats are printf's, so that the compiler checks them, but know only PRIu64, PRIx64 and %s. Of strings the first 31 bytes count.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/cancel.h"
#include "common/error.h"
#include "fail.h"
#include "common/stamp.h"

#define ARGS 4
#define LINE 768

_Atomic bool shmbuddy__debug;

/* The last of this thread. A handler that fails while one is being kept replaces it whole: see keep(). */
static _Thread_local struct failure {
	const char *format; /* NULL: none. */
	const struct shmbuddy *h;
	uint64_t named;
	union {
		uint64_t number;
		char text[8];
	} arg[ARGS];
	int err;
	volatile unsigned turn; /* Changes first: what was read between two equal ones is of one failure. */
} last __attribute__((tls_model("initial-exec")));

/* ---- the sentence ---- */

struct line {
	char *text;
	size_t used, size; /* The last byte is for a zero. */
};

static void put(struct line *line, const char *text, size_t bytes)
{
	bytes = ma_min(bytes, line->size - 1 - line->used);
	memcpy(line->text + line->used, text, bytes);
	line->used += bytes;
	line->text[line->used] = '\0';
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

static void put_number(struct line *line, uint64_t n, unsigned radix)
{
	char digits[24];
	size_t at = sizeof(digits);

	do
		digits[--at] = "0123456789abcdef"[n % radix];
	while (n /= radix);
	put(line, digits + at, sizeof(digits) - at);
}

/* The letter that ends the conversion at c. */
static const char *conversion(const char *c)
{
	while (*c != 'u' && *c != 'x' && *c != 's')
		c++;
	return c;
}

static void put_format(struct line *line, const struct failure *f)
{
	const char *c = f->format;
	unsigned at = 0;

	for (const char *percent = strchr(c, '%'); percent && at < ARGS; percent = strchr(c, '%')) {
		put(line, c, (size_t)(percent - c));
		c = conversion(percent);
		if (percent[1] == '#')
			put_text(line, "0x");
		if (*c == 's')
			put(line, f->arg[at].text, strnlen(f->arg[at].text, (ARGS - at) * 8));
		else
			put_number(line, f->arg[at].number, *c == 'x' ? 16 : 10);
		at = *c == 's' ? ARGS : at + 1;
		c++;
	}
	put_text(line, c);
}

static void put_name(struct line *line, const struct failure *f)
{
	if (!f->h)
		return;
	if (f->named == f->h->named)
		put(line, f->h->name, strnlen(f->h->name, sizeof(f->h->name)));
	else
		put_text(line, "a region that was closed since");
	put_text(line, ": ");
}

#define NUMBER_BYTES 24 /* A sentence that is cut off has its errno all the same. */

static void put_sentence(struct line *line, const struct failure *f)
{
	const char *name = strerrorname_np(f->err);

	line->size -= NUMBER_BYTES;
	put_name(line, f);
	put_format(line, f);
	line->size += NUMBER_BYTES;
	put_text(line, " (");
	if (name)
		put_text(line, name);
	else
		put_number(line, (uint64_t)f->err, 10);
	put_text(line, ")");
}

/* False: there was none. A handler that fails while it is copied changes the turn before all else, and the copy begins again. */
static bool get(struct failure *f)
{
	unsigned turn;

	do {
		turn = last.turn;
		atomic_signal_fence(memory_order_seq_cst);
		*f = last;
		atomic_signal_fence(memory_order_seq_cst);
	} while (last.turn != turn);
	return f->format;
}

bool shmbuddy__failure(char *text, size_t size)
{
	struct line line = { text, 0, size };
	struct failure f;

	if (!get(&f))
		return false;
	put_sentence(&line, &f);
	return true;
}

bool shmbuddy__failure_parts(char *text, size_t size, struct ma_error *error)
{
	struct line line = { text, 0, size };
	struct failure f;
	size_t before;

	if (!get(&f))
		return false;
	put_name(&line, &f);
	before = line.used;
	put_format(&line, &f);
	*error = (struct ma_error){
		.number = f.err,
		.name = text,
		.name_bytes = before ? before - strlen(": ") : 0,
		.text = text + before,
		.text_bytes = line.used - before,
	};
	return true;
}

void shmbuddy__failure_clear(void)
{
	last.format = NULL;
}

static void print(const struct failure *f)
{
	MA_UNCANCELLED;
	char text[LINE], stamp[MA_STAMP];
	struct line line = { text, 0, sizeof(text) - 1 };

	ma_stamp(stamp);
	put_text(&line, "shmbuddy[");
	put_number(&line, (uint64_t)getpid(), 10);
	put_text(&line, "] ");
	put_text(&line, stamp);
	put_text(&line, ": ");
	put_sentence(&line, f);
	text[line.used++] = '\n';
	if (write(STDERR_FILENO, text, line.used) < 0)
		return; /* No descriptor to write to. */
}

/* ---- keeping it ---- */

static void capture(struct failure *f, va_list args)
{
	unsigned at = 0;

	for (const char *c = strchr(f->format, '%'); c && at < ARGS; c = strchr(c, '%')) {
		c = conversion(c);
		if (*c == 's') {
			const char *text = va_arg(args, const char *);
			size_t bytes = strnlen(text, (ARGS - at) * 8 - 1);

			memcpy(f->arg[at].text, text, bytes);
			f->arg[at].text[bytes] = '\0';
			at = ARGS;
		} else {
			f->arg[at++].number = va_arg(args, uint64_t);
		}
	}
}

/* Begun again when a handler came between and kept a failure of its own: this one is the later one, and whole. */
static void keep(const struct failure *f)
{
	unsigned turn;

	do {
		turn = last.turn + 1;
		last.turn = turn;
		atomic_signal_fence(memory_order_seq_cst);
		last.format = f->format;
		last.h = f->h;
		last.named = f->named;
		memcpy(last.arg, f->arg, sizeof(last.arg));
		last.err = f->err;
		ma_last_failure.fresh = false;
		atomic_signal_fence(memory_order_seq_cst);
	} while (last.turn != turn);
}

static int fail(const struct shmbuddy *h, int err, bool printed, const char *format, va_list args)
{
	struct failure f = { .format = format, .h = h, .named = h ? h->named : 0, .err = err };

	capture(&f, args);
	keep(&f);
	if (printed && (h ? h->debug : ma_load(&shmbuddy__debug)))
		print(&f);
	errno = err;
	return -1;
}

int shmbuddy__fail(const struct shmbuddy *h, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(h, err, true, format, args);
	va_end(args);
	return -1;
}

int shmbuddy__fail_quiet(const struct shmbuddy *h, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(h, err, false, format, args);
	va_end(args);
	return -1;
}

int shmbuddy__fail_closed(const struct shmbuddy *h)
{
	return h ? shmbuddy__fail(h, EBADF, "the region is closed: its handle was closed before; open the region again")
		 : shmbuddy__fail(NULL, EBADF,
				  "the region is NULL: none is open, or opening it failed; open a region first");
}

bool shmbuddy__region_may_write(const struct shmbuddy *h)
{
	if (!region_is_open(h))
		shmbuddy__fail_closed(h);
	else if (!h->writable)
		shmbuddy__fail(h, EROFS,
			       "the region is read-only: it was opened with SHMBUDDY_RDONLY; open it without");
	else
		return true;
	return false;
}
