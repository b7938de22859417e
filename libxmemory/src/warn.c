/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Warnings of calls that cannot fail visibly: free(NULL), and pointers that are no blocks. Each kind has a limit of lines, for
 * programs may do it in a loop; the rest is counted, and said once, at exit. A fork child counts from 0.
 */
#include <limits.h>
#include <stdlib.h>

#include "say.h"
#include "warn.h"

#include "common/env.h"

#define BY_DEFAULT (-1)

static const struct {
	const char *call;
	int most; /* Lines, by default. */
} kinds[XMEMORY__WARNINGS] = {
	[XMEMORY__FREE_NULL] = { "free(NULL)", 1 },
	[XMEMORY__FREE_UNKNOWN] = { "free() of no block", 8 },
	[XMEMORY__REALLOC_UNKNOWN] = { "realloc() of no block", 8 },
	[XMEMORY__FDEALLOC_NULL] = { "fdealloc(NULL)", 1 },
	[XMEMORY__FDEALLOC_UNKNOWN] = { "fdealloc() of no block", 8 },
};

static struct {
	_Atomic uint64_t all;
	_Atomic uint64_t said;
	_Atomic uint64_t unsaid; /* Because the limit was reached. */
} counts[XMEMORY__WARNINGS];

static _Atomic int chosen = BY_DEFAULT; /* xmemory_setwarnings() */
static _Atomic int environment = BY_DEFAULT;

static int most_of(enum xmemory__warning kind)
{
	int most = ma_load(&chosen);

	if (most < 0)
		most = ma_load(&environment);
	return most < 0 ? kinds[kind].most : most;
}

void xmemory__warnings_set_up(void)
{
	const char *text = ma_env("XMEMORY_WARNINGS");
	char *end;
	long most;

	if (!text || !*text)
		return;
	most = strtol(text, &end, 10);
	if (*end || most < 0)
		xmemory__say("xmemory: $XMEMORY_WARNINGS is \"%.40s\", which is no number of lines; it has no effect",
			     text);
	else
		ma_store(&environment, (int)ma_min((uint64_t)most, INT_MAX));
}

int xmemory__warnings_most(int most)
{
	return atomic_exchange_explicit(&chosen, most < 0 ? BY_DEFAULT : most, memory_order_relaxed);
}

static void say(const char *call, const void *ptr, const char *file, int line, bool last)
{
	const char *more = last ? " (further warnings of this kind are counted, not printed)" : "";

	if (!ptr)
		xmemory__say("xmemory: warning: %s(NULL) in %s, line %d: there is nothing to free; "
			     "XMEMORY_WARNINGS=0 silences warnings%s",
			     call, file ? file : "?", line, more);
	else
		xmemory__say(
			"xmemory: warning: %s(%p) in %s, line %d: not a block of this library: freed before, or never "
			"allocated by it; free a block once, and by the allocator that it came from%s",
			call, ptr, file ? file : "?", line, more);
}

/* False: this one is over the limit, or there are to be none. */
static bool may_say(enum xmemory__warning kind, int most, bool *last)
{
	uint64_t before = ma_load(&counts[kind].said);

	do
		if (before >= (uint64_t)most)
			return false;
	while (!ma_cas_relaxed(&counts[kind].said, &before, before + 1));
	*last = before + 1 == (uint64_t)most;
	return true;
}

void xmemory__warn(enum xmemory__warning kind, const char *call, const void *ptr, const char *file, int line)
{
	int most = most_of(kind);
	bool last;

	atomic_fetch_add_explicit(&counts[kind].all, 1, memory_order_relaxed);
	if (may_say(kind, most, &last))
		say(call, ptr, file, line, last);
	else if (most > 0)
		atomic_fetch_add_explicit(&counts[kind].unsaid, 1, memory_order_relaxed);
}

uint64_t xmemory__warnings(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < XMEMORY__WARNINGS; i++)
		sum += ma_load(&counts[i].all);
	return sum;
}

void xmemory__warnings_forked(void)
{
	for (size_t i = 0; i < XMEMORY__WARNINGS; i++) {
		ma_store(&counts[i].all, 0);
		ma_store(&counts[i].unsaid, 0);
	}
}

__attribute__((destructor)) static void at_exit(void)
{
	for (size_t i = 0; i < XMEMORY__WARNINGS; i++) {
		unsigned long long unsaid = atomic_exchange_explicit(&counts[i].unsaid, 0, memory_order_relaxed);

		if (unsaid > 0)
			xmemory__say("xmemory: %llu more warnings of %s were not printed; XMEMORY_WARNINGS=N prints up "
				     "to N of "
				     "each kind",
				     unsaid, kinds[i].call);
	}
}
