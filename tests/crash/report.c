/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/crash/report.h"

#include <dlfcn.h>
#include <glib.h>
#include <stdio.h>

static GArray *table;

/* addr2line knows static functions, dladdr() does not. */
char *report_place(uintptr_t at)
{
	char *command, *text = NULL;
	Dl_info info;

	if (!at || !dladdr((void *)at, &info) || !info.dli_fname)
		return g_strdup("?");
	command = g_strdup_printf("addr2line -sfe %s 0x%zx", info.dli_fname, (size_t)(at - (uintptr_t)info.dli_fbase));
	if (!g_spawn_command_line_sync(command, &text, NULL, NULL, NULL) || !text || text[0] == '?') {
		g_free(text);
		text = g_strdup_printf("%s+0x%zx", info.dli_sname ? info.dli_sname : info.dli_fname,
				       (size_t)(at - (uintptr_t)(info.dli_sname ? info.dli_saddr : info.dli_fbase)));
	}
	g_free(command);
	return g_strdelimit(g_strchomp(text), "\n", ' ');
}

void report_row(const struct row *row)
{
	if (!table)
		table = g_array_new(FALSE, FALSE, sizeof(struct row));
	g_array_append_vals(table, row, 1);
}

static void print_row(const struct row *row)
{
	printf("# crash: %-32s %12zu %8zu %11zu %10zu %10zu\n", row->name, row->instructions, row->states, row->covered,
	       row->kills, row->violations);
}

void report_table(void)
{
	struct row total = { .name = "total" };

	printf("# crash: %-32s %12s %8s %11s %10s %10s\n", "scenario", "instructions", "states", "kill points",
	       "real kills", "violations");
	for (size_t i = 0; table && i < table->len; i++) {
		const struct row *row = &g_array_index(table, struct row, i);

		print_row(row);
		total.instructions += row->instructions;
		total.states += row->states;
		total.covered += row->covered;
		total.kills += row->kills;
		total.violations += row->violations;
	}
	print_row(&total);
}
