/* SPDX-License-Identifier: BSD-3-Clause */
/* mapalloc create: a new, empty map. */
#include <string.h>

#include "tools/checkpoints.h"
#include "tools/commands.h"
#include "tools/make.h"

/* What does not go with the kind is a mistake, not a wish to be passed over. */
static const char *misfit(const struct options *o, uint32_t kind)
{
	if (kind != MA_KIND_STATIC && o->item)
		return "--item is for qalloc-static";
	if (kind == MA_KIND_STATIC && !o->item)
		return "qalloc-static wants --item SIZE";
	if (kind != MA_KIND_SHMBUDDY && (o->smallest || o->largest))
		return "--smallest and --largest are for shmbuddy";
	if (kind == MA_KIND_SHMBUDDY && (o->streams || o->base))
		return "shmbuddy has neither streams nor a base";
	if (o->range && kind == MA_KIND_MMALLOC)
		return "--range is for qalloc and shmbuddy: the range of mmalloc is its --size";
	if (o->processes && kind == MA_KIND_SHMBUDDY)
		return "shmbuddy serves any number of processes";
	if (kind != MA_KIND_MMALLOC && !o->size)
		return "it wants --size SIZE";
	return NULL;
}

static enum status run(struct tool *tool, char **arguments, int count)
{
	const struct options *o = &tool->options;
	struct make_plan plan = {
		.kind = make_kind(arguments[0]),
		.size = o->size,
		.base = o->base,
		.streams = o->streams ? o->streams : 1,
		.item = o->item,
		.smallest = o->smallest,
		.largest = o->largest,
		.range = o->range,
		.processes = o->processes,
	};
	const char *why =
		plan.kind ? misfit(o, plan.kind) : "KIND is one of qalloc-static, qalloc-dynamic, mmalloc, shmbuddy";
	struct made made;
	enum status status;

	(void)count;
	if (why) {
		complain(tool, NULL, "create %s: %s", arguments[0], why);
		return STATUS_USAGE;
	}
	status = make_open(tool, arguments[1], &plan, NULL, &made);
	if (status == STATUS_OK)
		status = make_finish(tool, arguments[1], false, &made);
	return status == STATUS_OK && o->durable ? checkpoints_begin(tool, arguments[1], plan.kind) : status;
}

static const struct option_spec options[] = {
	{ "size", 's', OPTION_SIZE, OPTION(size), "SIZE",
	  "of the file; shmbuddy: of all blocks; mmalloc: its range (1T)" },
	{ "item", 'i', OPTION_SIZE, OPTION(item), "SIZE", "qalloc-static: of each item" },
	{ "streams", 'n', OPTION_NUMBER, OPTION(streams), "N", "lanes with a lock each, not for shmbuddy (1)" },
	{ "range", 0, OPTION_SIZE, OPTION(range), "SIZE",
	  "that it can grow to (qalloc: 64 times its size, 4G at least; shmbuddy: a multiple of its size)" },
	{ "processes", 0, OPTION_NUMBER, OPTION(processes), "N",
	  "that can allocate at a time, not for shmbuddy (by the size)" },
	{ "base", 0, OPTION_SIZE, OPTION(base), "ADDRESS", "where it is to be mapped, not for shmbuddy (chosen)" },
	{ "smallest", 0, OPTION_SIZE, OPTION(smallest), "SIZE", "shmbuddy: smallest block (32)" },
	{ "durable", 0, OPTION_FLAG, OPTION(durable), NULL,
	  "its checkpoints survive the death of the machine, in FILE.checkpoint" },
	{ "largest", 0, OPTION_SIZE, OPTION(largest), "SIZE", "shmbuddy: largest block (32 times the smallest)" },
	{ 0 },
};

const struct command command_create = {
	.name = "create",
	.arguments = "KIND FILE",
	.summary = "Make a new, empty map: KIND is qalloc-static, qalloc-dynamic, mmalloc or shmbuddy.",
	.options = options,
	.examples = "  mapalloc create qalloc-dynamic notes.map --size 16M --streams 4\n"
		    "  mapalloc create qalloc-static table.map --size 1G --item 64\n"
		    "  mapalloc create mmalloc heap.map --size 64G\n"
		    "  mapalloc create shmbuddy /dev/shm/cache.map --size 256M --largest 1M\n",
	.least = 2,
	.most = 2,
	.run = run,
};
