/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc repair --salvage: by the libraries' own calls. */
#include <errno.h>
#include <fcntl.h>
#include <mmalloc.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/repair.h"

struct told {
	struct tool *tool;
	const char *name;
	uint64_t count;
};

/* A line each; in JSON, an element of a list. */
static void tell(const char *text, void *arg)
{
	struct told *told = arg;

	told->count++;
	if (told->tool->options.json) {
		json_text(told->tool, NULL, text);
		return;
	}
	print_safe(told->tool->out, told->name, strlen(told->name));
	fprintf(told->tool->out, ": salvage: %s\n", text);
}

static int salvage_qalloc(const char *name, struct told *told)
{
	void *map = qalloc_salvage(name, tell, told);

	return map && qalloc_sync(map) == 0 ? qalloc_close(map) : -1;
}

static int salvage_mmalloc(const char *name, struct told *told)
{
	int fd = open(name, O_RDWR | O_CLOEXEC);
	void *md = fd >= 0 ? mmalloc_salvage(fd, tell, told) : NULL;

	if (fd >= 0)
		close(fd);
	return md && mmalloc_sync(md) == 0 && !mmalloc_detach(md) ? 0 : -1;
}

static int salvage_region(const char *name, struct told *told)
{
	shmbuddy_t *region = shmbuddy_salvage(name, tell, told);

	return region && shmbuddy_sync(region) == 0 ? shmbuddy_close(region) : -1;
}

enum status salvage(struct tool *tool, const char *name, uint32_t kind)
{
	struct told told = { tool, name, 0 };
	int result;

	last_error_clear();
	if (kind == MA_KIND_SHMBUDDY)
		result = salvage_region(name, &told);
	else
		result = kind == MA_KIND_MMALLOC ? salvage_mmalloc(name, &told) : salvage_qalloc(name, &told);
	return result == 0 ? STATUS_OK : complain_last_error(tool, name, "cannot be salvaged");
}
