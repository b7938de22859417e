/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hostile files for the command: each that only looks must come to an end, with a status that is documented, and leave the file as it is.
 * The calls of an input are a dump, which load makes a map of, or refuses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "tests/fuzz/fuzz.h"
#include "tools/dump.h"
#include "tools/processes.h"
#include "tools/tool.h"

#define LOOKED_AT 65536

const char fuzz_name[] = "tool";

static FILE *nowhere;
static char loaded[64];

/* The file's first bytes: all tables of the templates are there. */
static uint32_t sum(void)
{
	static char bytes[LOOKED_AT];
	ssize_t got = pread(fuzz_fd(), bytes, sizeof(bytes), 0);

	fuzz_require(got >= 0);
	return ma_crc32c(bytes, (size_t)got);
}

static bool is_status(enum status status)
{
	return status <= STATUS_REFUSED || status == STATUS_USAGE;
}

static void command(int count, const char *const *arguments)
{
	char *copy[8] = { 0 };
	enum status status;

	for (int i = 0; i < count; i++)
		copy[i] = (char *)(uintptr_t)arguments[i];
	status = tool_run(nowhere, nowhere, count, copy);
	fuzz_require(is_status(status) && status != STATUS_USAGE);
}

static void look(void)
{
	const char *path = fuzz_path();
	const char *const lines[][4] = {
		{ "info", path },
		{ "info", "--json", path },
		{ "check", path },
		{ "check", "--json", path },
		{ "list", "--json", path },
		{ "stat", path },
		{ "show", path, "0x10000" },
		{ "stat", "--json", path },
		{ "stat", "--prometheus", path },
		{ "leaks", path },
		{ "plot", path, "--layout", "rows" },
		{ "dump", path },
	};
	uint32_t before = sum();

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int count = 0;

		while (count < 4 && lines[i][count])
			count++;
		command(count, lines[i]);
		fuzz_require(sum() == before);
	}
}

/* A dump of it is loaded again: what it says of damaged blocks may be refused. */
static void load(const uint8_t *bytes, size_t size)
{
	struct tool tool = { .out = nowhere, .err = nowhere };
	struct dump_load from = { .file = loaded, .from = "dump", .relocate = true };
	enum status status;

	if (size == 0)
		return;
	from.input = fmemopen((void *)(uintptr_t)bytes, size, "r");
	fuzz_require(from.input);
	status = dump_read(&tool, &from);
	fuzz_require(is_status(status) && (status == STATUS_OK) == (access(loaded, F_OK) == 0));
	fclose(from.input);
	unlink(loaded);
}

static void golden(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), MA_TEST_SRCDIR "/golden/%s", name);
	fuzz_template(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	processes_ask_proc = false;
	fuzz_begin();
	nowhere = fopen("/dev/null", "w");
	fuzz_require(nowhere);
	snprintf(loaded, sizeof(loaded), "/dev/shm/mapalloc-fuzz-%d", (int)getpid());
	golden("static-1.map");
	golden("dynamic-1.map");
	golden("mmalloc-1.map");
	golden("shmbuddy-1.map");
	golden("shmbuddy-flat-1.map");
	golden("shmbuddy-parts-1.map");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	unsigned options;

	if (!fuzz_file(&in, &options))
		return 0;
	look();
	load(in.at, in.left);
	return 0;
}
