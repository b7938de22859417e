/* SPDX-License-Identifier: BSD-3-Clause */
/* See progress.h. */
#include "tools/progress.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 40
#define FIRST 1.0
#define PAUSE 0.1

double progress_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void progress_begin(struct progress *progress, struct tool *tool, const char *name, uint64_t all)
{
	bool shows = tool->err == stderr && isatty(STDERR_FILENO) && all > 0;

	*progress = (struct progress){ .tool = shows ? tool : NULL, .name = name, .all = all };
	if (shows)
		progress->began = progress_now();
}

static void show(struct progress *progress)
{
	FILE *err = progress->tool->err;
	int full = (int)(progress->done * WIDTH / progress->all);

	fputs("\r", err);
	print_safe(err, progress->name, strnlen(progress->name, 30));
	fputs(" [", err);
	for (int i = 0; i < WIDTH; i++)
		fputc(i < full ? '#' : '.', err);
	fprintf(err, "] %3d %%", (int)(progress->done * 100 / progress->all));
	fflush(err);
	progress->is_visible = true;
}

void progress_add(struct progress *progress, uint64_t done)
{
	double now;

	progress->done += done;
	if (!progress->tool)
		return;
	now = progress_now();
	if (now - progress->began < FIRST || now - progress->shown < PAUSE)
		return;
	progress->shown = now;
	show(progress);
}

void progress_end(struct progress *progress)
{
	if (progress->is_visible)
		fputs("\r\033[K", progress->tool->err);
}
