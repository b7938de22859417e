/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file cast.h
 * @brief The processes of a scenario: survivor, victim, whoever died before, and who opens the map afterwards.
 */
#ifndef MA_TESTS_CAST_H
#define MA_TESTS_CAST_H

#include <glib.h>
#include <sys/types.h>

#include "tests/crash/crash.h"
#include "tests/crash/image.h"
#include "tests/crash/mapped.h"

/** In shared memory. */
struct cast_stage {
	_Atomic int phase; /* 0 before the call, 1 in it, 2 after */
	_Atomic int no_ptrace;
	_Atomic pid_t forked; /* CRASH_FORKED: the victim */
	_Atomic int watched;  /* and we have it */
	bool with_victim;
	bool newcomer;
};

struct cast {
	const struct crash_library *library;
	const struct crash_scenario *scenario;
};

extern struct cast_stage *cast_stage;

/** Make the map, in a process of its own. */
void cast_set_up(struct cast *cast);
void cast_tear_down(void);
/** A flag of the scenario, or of the library. */
bool cast_has(const struct cast *cast, unsigned flag);
/** 0: the victim is alone. Returns when it is attached. */
pid_t cast_survivor(struct cast *cast, bool with_victim);
/** Stopped, before its call. */
pid_t cast_victim(struct cast *cast);
/** A stopped process that is stepped, and what is known of it. */
struct cast_steps {
	pid_t pid;
	struct states *states;
	GHashTable *known; /**< What its instructions do. */
	GArray *mapped;    /**< struct mapped_part */
};

void cast_steps_begin(struct cast_steps *steps, pid_t pid, struct states *states);
void cast_steps_end(struct cast_steps *steps);
/**
 * The instruction at @p at, which is next. False: the process died of it. @p changed: the file has, and the state after it, number
 * @p k, was noted.
 */
bool cast_step(struct cast_steps *steps, uintptr_t at, size_t k, bool *changed);
/** Inside reopen(), or soon. */
pid_t cast_opener(struct cast *cast);
void cast_end(pid_t pid);
/** False: it failed, or was asleep for a second; messages say which. */
bool cast_comes_back(pid_t pid, const char *who);
bool cast_survivor_is_well(pid_t survivor);
bool cast_opener_is_well(struct cast *cast, const struct image *image);

#endif /* MA_TESTS_CAST_H */
