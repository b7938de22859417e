/* SPDX-License-Identifier: BSD-3-Clause */
/* See finding.h. */
#include "common/finding.h"

#include <stdarg.h>
#include <stdio.h>

void ma_found(struct ma_findings *to, const char *rule, uint64_t at, const char *format, ...)
{
	char text[160];
	va_list args;

	to->count++;
	if (!to->fn)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	to->fn(&(struct ma_finding){ .rule = rule, .at = at, .text = text }, to->arg);
}

void ma_finding_report(const struct ma_finding *finding, void *reporter)
{
	const struct ma_reporter *r = reporter;

	if (r->report)
		r->report(finding->text, r->arg);
}
