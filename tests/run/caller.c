/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes the calls that tests/run/other.c counts; loads a plugin, module.so, with RTLD_DEEPBIND, by way of its own run path. */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void __libc_free(void *block);

static void *found(void *where, const char *name)
{
	void *at = dlsym(where, name);

	if (!at)
		printf("no %s: %s\n", name, dlerror());
	return at;
}

static int call_all(void)
{
	struct sigaction action = { .sa_handler = SIG_IGN };
	void *at = found(RTLD_DEFAULT, "other_count");
	int (*count)(void);
	int fd, seen;

	if (!at)
		return 1;
	memcpy(&count, &at, sizeof(at));
	count();
	fd = open("/dev/null", O_RDONLY);
	dup2(fd, 20);
	dup3(fd, 21, O_CLOEXEC);
	close(fd);
	close(20);
	close_range(21, 21, 0);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, NULL, &action);
	seen = count();
	printf("seen: %d of 7\n", seen);
	fflush(stdout);
	_exit(seen != 7);
}

static int share_blocks(void)
{
	void *plugin = dlopen("plugin.so", RTLD_NOW | RTLD_DEEPBIND), *make_at, *drop_at;
	void *(*make)(size_t bytes);
	void (*drop)(void *block);

	if (!plugin) {
		puts(dlerror());
		return 1;
	}
	make_at = found(plugin, "plugin_make");
	drop_at = found(plugin, "plugin_drop");
	if (!make_at || !drop_at)
		return 1;
	memcpy(&make, &make_at, sizeof(make_at));
	memcpy(&drop, &drop_at, sizeof(drop_at));
	for (size_t i = 1; i < 200; i++) {
		void *block = __libc_malloc(i * 100); /* The C library's own: no runner serves it. */

		if (malloc_usable_size(block) < i * 100) {
			printf("a block of %zu bytes has only %zu\n", i * 100, malloc_usable_size(block));
			return 1;
		}
		__libc_free(block);
		free(make(i * 100));
		drop(strcpy(malloc(i * 100), "x"));
	}
	puts("shared");
	return 0;
}

int main(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], "plugin") == 0 ? share_blocks() : call_all();
}
