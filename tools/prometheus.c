/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mapalloc stat --prometheus: the text format of Prometheus, for the textfile collector of its node exporter. Names keep to its rules: units
 * are bytes and seconds, a ratio is from 0 to 1, and labels tell one map, or one size of blocks, from another.
 */
#include <inttypes.h>

#include "tools/commands.h"

static void head(FILE *to, const char *name, const char *help)
{
	fprintf(to, "# HELP mapalloc_%s %s\n# TYPE mapalloc_%s gauge\n", name, help, name);
}

static void labels(const struct view *view)
{
	FILE *to = view->tool->out;

	fputs("{file=", to);
	print_label(to, view->name);
	fprintf(to, ",kind=\"%s\"", view->kind->name);
}

static void number(const struct view *view, const char *name, const char *help, uint64_t value)
{
	FILE *to = view->tool->out;

	head(to, name, help);
	fprintf(to, "mapalloc_%s", name);
	labels(view);
	fprintf(to, "} %" PRIu64 "\n", value);
}

static void sizes(const struct view *view, const struct figures *f)
{
	FILE *to = view->tool->out;

	head(to, "size_blocks", "Blocks of one size, in use or free; bytes is 0 for blocks of any size.");
	for (unsigned i = 0; i < f->buckets; i++)
		for (unsigned free = 0; free <= 1; free++) {
			fputs("mapalloc_size_blocks", to);
			labels(view);
			fprintf(to, ",bytes=\"%" PRIu64 "\",state=\"%s\"} %" PRIu64 "\n", f->bucket[i].bytes,
				free ? "free" : "used", free ? f->bucket[i].free : f->bucket[i].used);
		}
}

static void checkpoint(const struct view *view)
{
	const struct checkpoints *c = &view->checkpoints;

	number(view, "durable", "1: the map is durable.", c->state != CHECKPOINTS_OFF);
	if (c->state != CHECKPOINTS_THERE)
		return;
	number(view, "checkpoint_number", "Number of the last checkpoint.", c->number);
	number(view, "checkpoint_timestamp_seconds", "Time of the last checkpoint, in seconds since 1970.", c->time);
	number(view, "checkpoint_file_bytes", "Length of the checkpoint file.", c->file_bytes);
}

void prometheus_print(struct view *view, const struct figures *f)
{
	FILE *to = view->tool->out;
	unsigned alive = 0;

	for (unsigned i = 0; i < view->processes.count; i++)
		alive += view->processes.process[i].is_alive;
	number(view, "status", "Exit status of mapalloc check: 0 sound, 1 repairable, 2 damaged.", view_status(view));
	number(view, "file_bytes", "Length of the file.", (uint64_t)view->st.st_size);
	number(view, "disk_bytes", "Disk space of the file.", (uint64_t)view->st.st_blocks * 512);
	number(view, "capacity_bytes", "Most that blocks can take.", f->capacity);
	number(view, "used_bytes", "Bytes of live blocks.", f->used_bytes);
	number(view, "used_blocks", "Live blocks.", f->used_blocks);
	number(view, "free_bytes", "Bytes for blocks of any size.", stat_free_bytes(f));
	number(view, "reserved_bytes", "Free places of slabs, for blocks of their own sizes.", f->reserved);
	number(view, "table_bytes", "Bytes of the capacity that the map itself needs.", f->tables);
	number(view, "backed_bytes", "Bytes of the capacity that have their disk space.", f->backed);
	number(view, "largest_free_bytes", "Largest block that can be allocated.", f->largest_free);
	number(view, "processes", "Processes that use the map.", alive);
	if (view->header.kind != MA_KIND_STATIC) {
		head(to, "fragmentation_ratio", "How much smaller the largest free block is than it could be.");
		fputs("mapalloc_fragmentation_ratio", to);
		labels(view);
		fprintf(to, "} %.4f\n", stat_fragmentation(f));
	}
	checkpoint(view);
	sizes(view, f);
}
