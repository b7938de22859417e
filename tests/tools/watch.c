/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plot --watch on a terminal: q and Ctrl-C end it, the terminal is as it was, no line is longer than the terminal is wide, and without
 * colors each kind of block has its letter. And what stat says of fragmentation in a region.
 */
#include <fcntl.h>
#include <poll.h>
#include <qalloc.h>
#include <shmbuddy.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "tests/tools/heaps.h"

#define COLUMNS 60
#define ROWS    20

/* ---- a terminal ---- */

struct screen {
	int control;
	pid_t pid;
	GString *text;
};

static void run_in(const char *terminal, const char *path, const char *option)
{
	char *program = g_build_filename(g_getenv("MA_BUILDDIR"), "tools", "mapalloc", NULL);
	const struct winsize size = { .ws_col = COLUMNS, .ws_row = ROWS };
	int fd;

	setsid();
	fd = open(terminal, O_RDWR);
	if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0 || ioctl(fd, TIOCSWINSZ, &size) < 0)
		_exit(97);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	execl(program, program, "plot", "--watch", "--interval=0.05", path, option, NULL);
	_exit(98);
}

static bool begin(struct screen *screen, const char *path, const char *option)
{
	const char *terminal;

	screen->control = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (screen->control < 0 || grantpt(screen->control) < 0 || unlockpt(screen->control) < 0) {
		g_test_skip("there are no terminals here");
		return false;
	}
	terminal = ptsname(screen->control);
	screen->text = g_string_new(NULL);
	screen->pid = fork();
	g_assert_cmpint(screen->pid, >=, 0);
	if (screen->pid == 0)
		run_in(terminal, path, option);
	return true;
}

/* More of what it draws. False: it has ended. */
static bool more(struct screen *screen)
{
	char part[4096];
	ssize_t bytes = read(screen->control, part, sizeof(part));

	if (bytes > 0)
		g_string_append_len(screen->text, part, bytes);
	return bytes > 0;
}

/* Whole frames begin with the cursor at home. */
static unsigned frames(const struct screen *screen)
{
	unsigned count = 0;

	for (const char *at = screen->text->str; (at = strstr(at, "\033[H")) != NULL; at++)
		count++;
	return count;
}

static void await_frames(struct screen *screen, unsigned count)
{
	while (frames(screen) < count)
		if (!more(screen))
			g_error("ended after: %s", screen->text->str);
}

static tcflag_t modes(const struct screen *screen)
{
	struct termios now;

	g_assert_cmpint(tcgetattr(screen->control, &now), ==, 0);
	return now.c_lflag & (ICANON | ECHO);
}

/* Its status as by waitpid(). */
static int end(struct screen *screen)
{
	int status = support_wait(screen->pid);

	g_assert_cmpuint(modes(screen), ==, ICANON | ECHO);
	close(screen->control);
	g_string_free(screen->text, TRUE);
	return status;
}

static const char *make_map(const char *name)
{
	static const size_t sizes[] = { 20, 100, 3000, 20000, 200000 };
	const char *path = support_path(name);
	void *map = qalloc_makedynmap(16 * MIB, NULL, path, 1);

	g_assert_nonnull(map);
	/* So much of each size that it has chunks of its own. */
	for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
		for (size_t n = 0; n < MAX(20, 160 * 1024 / sizes[i]); n++)
			g_assert_nonnull(qalloc_malloc(map, sizes[i]));
	g_assert_cmpint(qalloc_close(map), ==, 0);
	return path;
}

/* ---- keys ---- */

static void key_q(void)
{
	struct screen screen;
	int status;

	if (!begin(&screen, make_map("map"), NULL))
		return;
	await_frames(&screen, 2);
	g_assert_cmpuint(modes(&screen), ==, 0);
	g_assert_cmpint(write(screen.control, "xq", 2), ==, 2);
	status = end(&screen);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

static void key_control_c(void)
{
	struct screen screen;
	int status;

	if (!begin(&screen, make_map("map"), NULL))
		return;
	await_frames(&screen, 2);
	g_assert_cmpint(write(screen.control, "\003", 1), ==, 1);
	status = end(&screen);
	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* Any other signal ends it as it does other programs, with the terminal as it was. */
static void by_signal(void)
{
	struct screen screen;
	int status;

	if (!begin(&screen, make_map("map"), NULL))
		return;
	await_frames(&screen, 2);
	kill(screen.pid, SIGTERM);
	status = end(&screen);
	g_assert_true(WIFSIGNALED(status));
	g_assert_cmpint(WTERMSIG(status), ==, SIGTERM);
}

/* ---- what is drawn ---- */

/* Characters, without what only sets colors and moves the cursor. */
static unsigned columns_of(const char *line, size_t bytes)
{
	unsigned columns = 0;

	for (size_t i = 0; i < bytes; i++) {
		if (line[i] == '\033') {
			while (i < bytes && !g_ascii_isalpha(line[i]))
				i++;
			continue;
		}
		columns += line[i] != '\r' && ((unsigned char)line[i] & 0xc0) != 0x80;
	}
	return columns;
}

static void assert_fits(const char *text)
{
	unsigned lines = 0;

	while (*text) {
		size_t bytes = strcspn(text, "\n");

		g_assert_cmpuint(columns_of(text, bytes), <=, COLUMNS);
		lines++;
		text += bytes + (text[bytes] == '\n');
	}
	g_assert_cmpuint(lines, >=, 4);
	g_assert_cmpuint(lines, <=, ROWS + 1);
}

static void narrow(const char *option)
{
	const char *path = make_map("a-map-with-a-long-name-that-is-longer-than-the-terminal-is-wide.map");
	struct screen screen;

	if (!begin(&screen, path, option))
		return;
	await_frames(&screen, 2);
	*strstr(strstr(screen.text->str, "\033[H") + 1, "\033[H") = '\0';
	assert_fits(screen.text->str);
	g_assert_nonnull(strstr(screen.text->str, "wide.map"));
	g_assert_nonnull(strstr(screen.text->str, "q: quit"));
	kill(screen.pid, SIGTERM);
	end(&screen);
}

static void narrow_in_colors(void)
{
	narrow("--color=always");
}

static void narrow_without_colors(void)
{
	narrow("--color=never");
}

/* Blocks of each kind are told apart, by letters that the legend has. */
static void letters(void)
{
	const char *path = make_map("map");
	char *cells, *legend;

	g_setenv("COLUMNS", "60", TRUE);
	g_setenv("NO_COLOR", "1", TRUE);
	assert_status(0, "plot", "--watch", "--count=1", path);
	g_unsetenv("NO_COLOR");
	g_unsetenv("COLUMNS");
	g_assert_null(strchr(run_out, '\033'));
	assert_fits(run_out);
	legend = strstr(run_out, "s to 128  m to 8K  l to 64K  r larger");
	g_assert_nonnull(legend);
	cells = g_strndup(strstr(run_out, "character\n"), (gsize)(legend - strstr(run_out, "character\n")));
	memmove(cells, cells + strlen("character\n"), strlen(cells + strlen("character\n")) + 1);
	for (const char *each = "smlr"; *each; each++)
		g_assert_true(strchr(cells, *each) || strchr(cells, g_ascii_toupper(*each)));
	g_assert_null(strchr(cells, '!'));
	g_free(cells);
}

/* ---- fragmentation ---- */

/* Case 83: blocks have a largest size; a region that can still give such a block is not fragmented. */
static void fragmentation(void)
{
	const struct shmbuddy_options options = { .capacity = MIB, .smallest = 32, .largest = 1024 };
	const char *path = support_path("region");
	shmbuddy_t *region = shmbuddy_open(path, &options);
	shm_offt blocks[MIB / 32];
	unsigned count = 0;

	g_assert_nonnull(region);
	assert_status(0, "stat", "--json", path);
	assert_said("\"fragmentation\": 0,");
	g_assert_cmpuint(shmbuddy_malloc(region, 100), !=, 0);
	assert_status(0, "stat", "--json", path);
	assert_said("\"fragmentation\": 0,");
	assert_status(0, "stat", path);
	assert_said("fragmented   0.0 %");
	while (count < G_N_ELEMENTS(blocks) && (blocks[count] = shmbuddy_malloc(region, 32)) != 0)
		count++;
	for (unsigned i = 0; i < count; i += 2)
		shmbuddy_free(region, blocks[i]);
	assert_status(0, "stat", "--json", path);
	g_assert_cmpuint(run_number("largest_free"), <, 1024);
	assert_said("\"fragmentation\": 0.9");
	g_assert_cmpint(shmbuddy_close(region), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/tools/watch/key-q", key_q);
	support_add("/tools/watch/key-control-c", key_control_c);
	support_add("/tools/watch/by-signal", by_signal);
	support_add("/tools/watch/narrow-in-colors", narrow_in_colors);
	support_add("/tools/watch/narrow-without-colors", narrow_without_colors);
	support_add("/tools/watch/letters", letters);
	support_add("/tools/watch/fragmentation", fragmentation);
	return support_run();
}
