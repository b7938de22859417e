/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client as the original's were written, and what was wrong with the original. No GLib, no test library: the same text is compiled as C,
 * as C++ (legacy_cxx.cpp) and for 32-bit machines (tests/install/m32). Prints its own TAP, takes no options.
 *
 * The client is a trie of path names that any number of processes add to without a lock: a node is a block, its children are offsets
 * in a chain that only grows, by compare-exchange.
 */
#include <errno.h>
#include <shm_alloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct node {
	shm_offt next, child; /* changed by compare-exchange */
	unsigned count;
	char name[4];
};

static int cases, failures;

static void ok(int good, const char *what)
{
	printf("%sok %d - /shmbuddy/legacy/%s\n", good ? "" : "not ", ++cases, what);
	fflush(stdout);
	failures += !good;
}

static struct node *node_at(shm_offt offset)
{
	return (struct node *)SHM_OFFT_TO_ADDR(offset);
}

/* The child of this name, made if need be. SHM_NULL: no room. */
static shm_offt child_of(shm_offt *chain, const char *name, size_t bytes)
{
	shm_offt at, made = SHM_NULL, first;

	for (;;) {
		first = __atomic_load_n(chain, __ATOMIC_ACQUIRE);
		for (at = first; at != SHM_NULL; at = node_at(at)->next)
			if (strlen(node_at(at)->name) == bytes && memcmp(node_at(at)->name, name, bytes) == 0)
				break;
		if (at != SHM_NULL) {
			shm_free(made); /* somebody else was faster */
			return at;
		}
		if (made == SHM_NULL)
			made = shm_calloc(1, sizeof(struct node) + bytes);
		if (made == SHM_NULL)
			return SHM_NULL;
		memcpy(node_at(made)->name, name, bytes);
		node_at(made)->next = first;
		if (__atomic_compare_exchange_n(chain, &first, made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return made;
	}
}

static int add_path(shm_offt *root, const char *path)
{
	shm_offt *chain = root, at = SHM_NULL;

	while (*path) {
		size_t bytes = strcspn(path, "/");

		at = child_of(chain, path, bytes);
		if (at == SHM_NULL)
			return 0;
		chain = &node_at(at)->child;
		path += bytes;
		path += *path == '/';
	}
	__atomic_fetch_add(&node_at(at)->count, 1, __ATOMIC_RELAXED);
	return 1;
}

static void tally(shm_offt at, unsigned *nodes, unsigned *sum)
{
	for (; at != SHM_NULL; at = node_at(at)->next) {
		++*nodes;
		*sum += node_at(at)->count;
		tally(node_at(at)->child, nodes, sum);
	}
}

static int add_many(shm_offt *root, unsigned from)
{
	char path[64];
	unsigned i;

	for (i = 0; i < 2000; i++) {
		unsigned n = (i + from) % 2000;

		snprintf(path, sizeof(path), "usr/%u/library%u/file-%u", n % 5, n % 50, n);
		if (!add_path(root, path))
			return 1;
	}
	return 0;
}

static void trie(const char *file)
{
	unsigned nodes = 0, sum = 0, i, good = 1;
	shm_offt root, *chain;
	pid_t pids[4];
	int status;

	ok(shm_init(NULL, file), "init");
	root = shm_calloc(1, sizeof(shm_offt));
	chain = (shm_offt *)SHM_OFFT_TO_ADDR(root);
	for (i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) /* needs no shm_init */
			_exit(add_many(chain, i * 500));
	}
	good = !add_many(chain, 100);
	for (i = 0; i < 4; i++)
		good &= waitpid(pids[i], &status, 0) == pids[i] && status == 0;
	ok((int)good, "five processes add to one trie");
	tally(*chain, &nodes, &sum);
	ok(nodes == 1 + 5 + 50 + 2000 && sum == 5 * 2000, "each name is there once, and was counted five times");
	shm_deinit();
	ok(shm_init(NULL, file), "init again");
	chain = (shm_offt *)SHM_OFFT_TO_ADDR(root);
	nodes = sum = 0;
	tally(*chain, &nodes, &sum);
	ok(nodes == 2056 && sum == 10000, "all is there in a new mapping");
}

static void numbers(void)
{
	ok(get_shm_max_allocatable_size() == 1024, "largest block: 1024 bytes");
	ok(get_shm_min_allocatable_size() == 32, "smallest block: 32 bytes");
	ok(get_sizeof_block_header() == 0, "no header");
	ok(get_mapping_size_needed_by_shm() >= (size_t)512 << 20, "512 MiB can be allocated");
	ok(SHM_ADDR_TO_OFFT(SHM_OFFT_TO_ADDR(12345)) == 12345, "offsets to addresses and back");
}

/* Does a store there kill? */
static int faults(void *at)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)at = 1;
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void was_wrong(void)
{
	shm_offt a = shm_malloc(1024), b = shm_malloc(1024);
	size_t huge = ~(size_t)0;
	char *base = (char *)get_shm_user_base();
	void *p;

	ok(a && b && (a > b ? a - b : b - a) >= 1024, "the largest block is really 1024 bytes");
	memset(SHM_OFFT_TO_ADDR(a), 1, 1024);
	shm_free(SHM_NULL);
	ptr_free(NULL);
	ok(1, "SHM_NULL may be freed");
	ok(!shm_malloc(1025) && errno == ENOMEM, "more than the largest block: SHM_NULL");
	ok(!shm_malloc(huge) && !shm_malloc(huge - 8) && !shm_malloc(huge / 2 + 1), "huge sizes");
	ok(!shm_calloc(huge, 2) && !shm_calloc(huge / 16, 17) && !ptr_calloc(huge, huge), "overflowing callocs");
	shm_free(a);
	shm_free(b);
	p = ptr_malloc(100);
	ok(p && ((size_t)p & 31) == 0, "blocks by address");
	errno = 0;
	ptr_free(base);
	ok(errno == EINVAL, "a foreign address");
	ptr_free(p);
	errno = 0;
	ptr_free(p);
	ok(errno == EINVAL, "a double free");
	ok(faults(base), "the page at offset 0 cannot be written to");
	ok(shm_init(NULL, "/nowhere/at/all"), "a repeated call is true");
	shm_deinit();
	ok(!get_shm_user_base() && !shm_malloc(1), "nothing after shm_deinit");
	ok(shm_init(base + (16 << 20), NULL) && get_shm_user_base() != NULL, "the file that $SHM_FILE names");
	p = get_shm_user_base();
	a = shm_malloc(32);
	ok(p != base ? SHM_OFFT_TO_ADDR(a) == (char *)p + a : 1, "the base is not the old one");
	shm_deinit();
}

static void too_small(const char *file)
{
	FILE *f = fopen(file, "w");

	fputs("too small", f);
	fclose(f);
	ok(!shm_init(NULL, file) && errno == EMEDIUMTYPE, "a too small file is refused");
}

/* $SHM_FILE counts as it was when the program was started: it starts itself again with it. */
int main(int argc, char **argv)
{
	char file[64];

	snprintf(file, sizeof(file), "./legacy-%d.region", (int)getpid());
	if (argc < 2 || strcmp(argv[1], "again") != 0) {
		char again[] = "again", *args[] = { argv[0], again, NULL };

		char program[4096];
		ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1); /* Valgrind has a file of its own there. */

		program[length < 0 ? 0 : length] = '\0';
		setenv("SHM_FILE", file, 1);
		execv(program, args);
		return 1;
	}
	setenv("SHM_FILE", "/nowhere/at/all", 1);
	unlink(file);
	printf("1..24\n");
	trie(file);
	numbers();
	was_wrong();
	too_small(file);
	unlink(file);
	return failures != 0;
}
