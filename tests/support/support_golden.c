/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/support/support_golden.h"

const char *support_golden_copy(const char *name)
{
	char *golden = g_build_filename(MA_TEST_SRCDIR, "golden", name, NULL);
	const char *copy = support_path(name);

	g_assert_true(g_file_test(golden, G_FILE_TEST_EXISTS));
	support_file_copy(golden, copy);
	g_free(golden);
	return copy;
}

bool support_no_place_for_golden(void)
{
	if (!support_tsan())
		return false;
	g_test_skip("ThreadSanitizer leaves no room at the address that the golden files were made for");
	return true;
}

const char *support_refuses(const struct support_damaged *d, support_open_fn *open)
{
	const char *copy = support_golden_copy(d->name);
	char *said;

	support_capture_begin();
	assert_null(open(copy), d->error);
	said = support_capture_end();
	if (!strstr(said, d->text))
		g_error("%s: said \"%s\", not \"%s\"", d->name, said, d->text);
	g_free(said);
	/* Refused once, refused again: looking changed nothing that matters. */
	assert_null(open(copy), d->error);
	return copy;
}
