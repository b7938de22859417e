/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Failures as sentences. ma_fail() keeps the sentence for <lib>_errmsg() of the calling thread and, when <LIB>_DEBUG is set and
 * not "0", prints it as one line on stderr, with the process and the time. MA_LIBRARY is the library's name, given by the
 * build of each archive.
 *
 * Each sentence has three parts: what failed (with the name of the file, or the number): why; what to do. " (ERRNO)" is added here.
 * The format of a sentence about a file begins with "%s: " for the file's name, and no other format does: ma_last_error() returns the
 * name by itself.
 */
#ifndef MA_ERROR_H
#define MA_ERROR_H

#include "common/base.h"

/* Keep the sentence for ma_errmsg(), print it when asked to, set errno to err, return -1. */
int ma_fail(int err, const char *format, ...) MA_PRINTF(2, 3);

/* The same, but never printed: for what programs ask for in order to learn that it is not there. */
int ma_fail_quiet(int err, const char *format, ...) MA_PRINTF(2, 3);

/* The same, for functions that return a pointer. */
#define ma_fail_null(...)       ((void)ma_fail(__VA_ARGS__), (void *)NULL)
#define ma_fail_quiet_null(...) ((void)ma_fail_quiet(__VA_ARGS__), (void *)NULL)

/*
 * The last failure of this thread: a sentence that stays until this thread's next failure, and that ends with it. Never NULL:
 * without a failure, and without memory for its sentence, a fixed text. errno stays.
 */
const char *ma_errmsg(void);

/* A failure as data: ma_errmsg() is "NAME: TEXT (ERRNO)". No zero ends name or text. */
struct ma_error {
	int number; /* errno */
	const char *name;
	size_t name_bytes; /* 0: it is about no file. */
	const char *text;
	size_t text_bytes;
};

/* The last failure of this thread, valid until the next one. False: none since ma_error_clear(), or no memory for it. */
bool ma_last_error(struct ma_error *error);

/* Forget this thread's last failure. */
void ma_error_clear(void);

/* For a program with several libraries in it, before all calls: the name for its environment and debug lines, in place of MA_LIBRARY. */
void ma_error_set_program(const char *name);

/* Say something that is no failure. errno stays. */
void ma_debug(const char *format, ...) MA_PRINTF(1, 2);

/* Print it, whether debug lines are on or not: only where a call is made for that. errno stays. */
void ma_say(const char *format, ...) MA_PRINTF(1, 2);

/* Was <LIB>_what set in the environment when the library was loaded, and not "0"? */
bool ma_env_on(const char *what);

/* Are failures printed? */
bool ma_debug_on(void);

/*
 * What a thread's last failure left. A library whose calls are for signal handlers keeps what happened there in words of its own,
 * and sets fresh to false, so that its errmsg() knows which came last. (Initial-exec: a signal handler may use it. Static TLS
 * space is scarce: the sentence itself is elsewhere.)
 */
struct ma_last_failure {
	char *text; /* NULL: none yet, or no memory. */
	bool fresh; /* The last failure is in text. */
	bool lost;  /* There was no memory for the last sentence. */
	/* Of struct ma_error. */
	uint16_t name_bytes, text_bytes;
	int number;
};
extern _Thread_local struct ma_last_failure ma_last_failure __attribute__((tls_model("initial-exec")));

/* Room for a sentence of this thread, of MA_ERROR_TEXT bytes, the same that ma_fail() uses; NULL: no memory. errno stays. */
#define MA_ERROR_TEXT (MA_PAGE - MA_ERROR_EXTRA)
char *ma_error_text(void);

/* As much memory of this thread for the library's own use, zeros at first, gone when the thread ends; NULL: no memory. errno stays. */
#define MA_ERROR_EXTRA 512
void *ma_error_extra(void);

#endif /* MA_ERROR_H */
