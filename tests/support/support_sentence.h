/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file support_sentence.h
 * @brief What a library's errmsg() says of a failure: three parts, and its errno. With MA_TEST_SENTENCES=FILE they are added to it.
 */
#ifndef MA_TESTS_SUPPORT_SENTENCE_H
#define MA_TESTS_SUPPORT_SENTENCE_H

#include "tests/support/support.h"

/** A library's errmsg(), and a call of it that fails: so that a sentence that was not made is seen as the old one. */
struct support_errmsg {
	const char *name;
	const char *(*errmsg)(void);
	void (*fail)(void);
};

/** Assert that the sentence is about this failure, contains @p part, has a reason, an advice and the name of @p error. */
void support_sentence(const struct support_errmsg *lib, char *before, int error, const char *part, const char *call,
		      int line);
/** The sentence of a failure of its own; support_sentence() frees it. */
char *support_sentence_before(const struct support_errmsg *lib);

/** @p call, which uses @p lib, fails with @p error, and the sentence about it contains @p part. */
#define says(lib, call, error, part)                                                \
	do {                                                                        \
		char *before_ = support_sentence_before(lib);                       \
		errno = 0;                                                          \
		(void)(call);                                                       \
		support_sentence((lib), before_, (error), (part), #call, __LINE__); \
	} while (0)

/** A number as it is in a sentence; good for one use. */
const char *support_digits(size_t number);

/** A thread without memory for its sentence gets a fixed text; children and other threads have sentences of their own. */
void support_sentences_of_threads(const struct support_errmsg *lib);
void support_sentences_of_children(const struct support_errmsg *lib);

#endif /* MA_TESTS_SUPPORT_SENTENCE_H */
