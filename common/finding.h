/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a check finds, as data: the rule that is broken, where, and a sentence for people. Programs get the sentence; mapalloc gets all
 * three.
 */
#ifndef MA_FINDING_H
#define MA_FINDING_H

#include "common/base.h"

#define MA_NO_PLACE UINT64_MAX

struct ma_finding {
	const char *rule; /* A short name, as `mapalloc check --json` has it: "body/chunk". */
	uint64_t at;      /* Offset from the base, as that of a block is; MA_NO_PLACE. */
	const char *text;
};

typedef void ma_finding_fn(const struct ma_finding *finding, void *arg);

/* Who is told. Without fn they are only counted. */
struct ma_findings {
	ma_finding_fn *fn;
	void *arg;
	uint64_t count;
};

void ma_found(struct ma_findings *to, const char *rule, uint64_t at, const char *format, ...) MA_PRINTF(4, 5);

/* A program's own function for sentences. As fn, with a pointer to this as arg, it is called with the text. */
struct ma_reporter {
	void (*report)(const char *text, void *arg); /* May be NULL. */
	void *arg;
};
void ma_finding_report(const struct ma_finding *finding, void *reporter);

#endif /* MA_FINDING_H */
