/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file crash.h
 * @brief The kill sweep: what does a SIGKILL at each instruction of a call leave, and can the others live with it?
 *
 * Knows no library: a library gives a struct of functions and a list of scenarios.
 *
 *     driver                      survivor                victim
 *     writes the map              attach()
 *                                                         warm_up()
 *     steps through call(), noting the map's bytes        call()
 *     whenever they change
 *
 * A killed process leaves nothing but the file: the kernel takes back its locks, whatever instruction it was at. So two
 * kill points with the same bytes between them are one *state*, and examining each distinct state covers every
 * instruction. To examine one: a new survivor attaches to the map as it was before the call, the state's bytes are put
 * into the file, and survive() runs, against the clock; then the bytes are put there once more, and reopen() runs in a fresh process,
 * with nobody attached. That this is what a kill does is proved by really killing other victims: all the way through short
 * calls, at random instructions of long ones. They must leave the bytes of the state that was noted.
 *
 * The bytes are compared only where an instruction can have changed them: which memory it names, and whether a file is mapped there
 * (support_code.h, mapped.h). Before each call of the kernel, and after it, all bytes are: a change that was missed ends the run.
 *
 * A function that finds a violation aborts, or waits for others for more than a second.
 *
 * MA_CRASH_CPU  seconds of CPU time that all scenarios of a program share (3); their first passes share 1.5 times as many.
 *               Each has at least two states and two kills, then states in random order for half of its share, and kills at
 *               random instructions for the rest
 * MA_CRASH_ALL  1: every state, each with and without a newcomer, and each instruction of short calls, whatever the time
 * MA_CRASH_PART I/N: one scenario of each N, from the one at place I on
 * MA_TEST_SEED  repeats the random order
 */
#ifndef MA_TESTS_CRASH_H
#define MA_TESTS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum crash_flags {
	CRASH_ABSENT = 1,       /**< There is no file before the call. */
	CRASH_ALONE = 2,        /**< Nobody else is attached. */
	CRASH_WAITED = 4,       /**< While the victim dies another process is inside reopen(). Real kills only. */
	CRASH_FORKED = 8,       /**< The victim is the survivor's fork child. */
	CRASH_DEAD_BEFORE = 16, /**< Another one died half-way through earlier_call() before the victim attached... */
	CRASH_DEAD_DURING = 32, /**< ... after its warm_up(). */
	CRASH_ANYWHERE =
		64, /**< Each victim works in another place: real kills leave other bytes than the first one's. */
	CRASH_COPIED = 128, /**< The map is a copy of the one that was prepared. */
	CRASH_SYNCED = 256, /**< It says that it was closed and synced. */
};

/** A library's scenario begins with this. */
struct crash_scenario {
	const char *name;
	unsigned flags;
};

struct crash_library {
	const char *name;
	unsigned flags;                                  /**< Of all its scenarios. */
	size_t room;                                     /**< No map file is longer. */
	void (*prepare)(const struct crash_scenario *s); /**< Make the map; in a process of its own. */
	void (*attach)(const struct crash_scenario *s);  /**< The survivor, before. */
	void (*warm_up)(const struct crash_scenario *s); /**< The victim, before. */
	void (*call)(const struct crash_scenario *s);
	void (*survive)(const struct crash_scenario *s); /**< The survivor, after. */
	void (*reopen)(const struct crash_scenario *s);  /**< A fresh process, after. */
	void (*earlier)(const struct crash_scenario *s); /**< Who dies first. */
	void (*earlier_call)(const struct crash_scenario *s);
	/** The byte at this place of the file differs from run to run: pids, times. */
	bool (*varies)(size_t at);
	/** After each change that earlier_call() makes to the map: far enough? */
	bool (*half_done)(const struct crash_scenario *s, const char *bytes);
};

void crash_add(const struct crash_library *library, const struct crash_scenario *scenario);
/** Run all, then print the table. The return value of main(). */
int crash_run(void);

/** The map file. */
const char *crash_path(void);
/** survive(): this time somebody new is to take the dead one's place first. */
bool crash_newcomer(void);
/** call(): it does not return, but is over. */
void crash_call_ends(void);

#endif /* MA_TESTS_CRASH_H */
