/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program as it was written for GNU mmalloc by the debuggers of its time: C90; symbols of an object file are read once into a
 * mapped file, on obstacks that take their chunks from the heap; key 0 leads to them; later runs attach the file and look up.
 * It knows the old calls only. Another text, original_cxx.cpp, makes C++ of it. It prints its own TAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <obstack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mmalloc.h>

#ifndef MAPPING_NAME
#define MAPPING_NAME "original"
#endif

#define SYMBOLS 5000
#define BUCKETS 211

struct symbol {
	char *name;
	unsigned long value;
	struct symbol *next;
};

struct objfile {
	void *md;
	struct obstack symbol_obstack;
	struct symbol *bucket[BUCKETS];
	int count;
};

static int tests = 0;
static int failures = 0;
static char symsfile[64];

static void ok(int good, const char *what)
{
	tests++;
	if (!good)
		failures++;
	printf("%sok %d - /mmalloc/" MAPPING_NAME "/%s\n", good ? "" : "not ", tests, what);
	fflush(stdout);
}

/* What debuggers call when there is no memory, for they could not go on. */
static void nomem(size_t size)
{
	printf("Bail out! virtual memory exhausted: can't allocate %lu bytes\n", (unsigned long)size);
	exit(1);
}

/* The type that obstacks call: the descriptor comes first. */
static void *xmmalloc(void *md, size_t size)
{
	void *val;

	if (size == 0)
		return NULL;
	val = mmalloc(md, size);
	if (val == NULL)
		nomem(size);
	return val;
}

static void *xmrealloc(void *md, void *ptr, size_t size)
{
	void *val;

	val = ptr ? mrealloc(md, ptr, size) : mmalloc(md, size);
	if (val == NULL && size > 0)
		nomem(size);
	return val;
}

static void *chunk_alloc(void *md, long size)
{
	return xmmalloc(md, (size_t)size);
}

static void chunk_free(void *md, void *chunk)
{
	mfree(md, chunk);
}

static unsigned hash(const char *name)
{
	unsigned h = 0;

	while (*name)
		h = h * 67 + (unsigned char)*name++ - 113;
	return h % BUCKETS;
}

static struct symbol *lookup(struct objfile *objfile, const char *name)
{
	struct symbol *sym;

	for (sym = objfile->bucket[hash(name)]; sym; sym = sym->next)
		if (strcmp(sym->name, name) == 0)
			return sym;
	return NULL;
}

static void enter(struct objfile *objfile, int number)
{
	struct symbol *sym;
	char name[32];
	unsigned h;

	sprintf(name, "symbol_%d", number);
	h = hash(name);
	sym = (struct symbol *)obstack_alloc(&objfile->symbol_obstack, (int)sizeof(struct symbol));
	sym->name = (char *)obstack_copy0(&objfile->symbol_obstack, name, (int)strlen(name));
	sym->value = (unsigned long)number * 16;
	sym->next = objfile->bucket[h];
	objfile->bucket[h] = sym;
	objfile->count++;
}

static int all_there(struct objfile *objfile)
{
	char name[32];
	struct symbol *sym;
	int i;

	for (i = 0; i < objfile->count; i++) {
		sprintf(name, "symbol_%d", i);
		sym = lookup(objfile, name);
		if (sym == NULL || sym->value != (unsigned long)i * 16)
			return 0;
	}
	return lookup(objfile, "no_such_symbol") == NULL;
}

static int open_syms(int flags)
{
	int fd;

	fd = open(symsfile, O_RDWR | flags, 0666);
	if (fd < 0) {
		printf("Bail out! cannot open %s\n", symsfile);
		exit(1);
	}
	return fd;
}

/* The functions are those of this process, wherever it was loaded. */
static void own_functions(struct objfile *objfile, void *md)
{
	objfile->md = md;
	obstack_chunkfun(&objfile->symbol_obstack, chunk_alloc);
	obstack_freefun(&objfile->symbol_obstack, chunk_free);
	objfile->symbol_obstack.extra_arg = md;
}

/* The first run: read all symbols. */
static void build(void)
{
	struct objfile *objfile;
	struct mstats stats;
	void *base, *md;
	int fd, i;

	fd = open_syms(O_CREAT | O_TRUNC);
	base = mmalloc_findbase(4 * 1024 * 1024);
	ok(base != NULL, "findbase");
	md = mmalloc_attach(fd, base);
	ok(md != NULL, "attach to an empty file");
	if (md == NULL)
		exit(1);
	close(fd);
	ok(mmalloc_getkey(md, 0) == NULL, "no key yet");
	objfile = (struct objfile *)xmmalloc(md, sizeof(struct objfile));
	memset(objfile, 0, sizeof(struct objfile));
	objfile->md = md;
	obstack_specify_allocation_with_arg(&objfile->symbol_obstack, 0, 0, chunk_alloc, chunk_free, md);
	for (i = 0; i < SYMBOLS; i++)
		enter(objfile, i);
	ok(all_there(objfile), "symbols on an obstack in the heap");
	ok(mmalloc_setkey(md, 0, (void *)objfile) == 1, "setkey");
	ok(mmalloc_setkey(md, 12345, (void *)objfile) == 0, "setkey out of range");
	stats = mmstats(md);
	ok(stats.bytes_used >= SYMBOLS * sizeof(struct symbol), "mmstats");
	ok(stats.bytes_used + stats.bytes_free == stats.bytes_total, "mmstats add up");
	ok(mmalloc_detach(md) == NULL, "detach");
}

/* A later run, in a fresh process: 0 when all is there; it adds what came since. */
static int later_run(void)
{
	struct objfile *objfile;
	void *md;
	int fd, before;

	fd = open_syms(0);
	md = mmalloc_attach(fd, (void *)0);
	close(fd);
	if (md == NULL)
		return 10;
	objfile = (struct objfile *)mmalloc_getkey(md, 0);
	if (objfile == NULL)
		return 11;
	if (!all_there(objfile))
		return 12;
	own_functions(objfile, md);
	before = objfile->count;
	while (objfile->count < before + SYMBOLS)
		enter(objfile, objfile->count);
	if (!all_there(objfile) || mmalloc_errno(md) != 0)
		return 13;
	return mmalloc_detach(md) == NULL ? 0 : 14;
}

static int run_again(const char *program)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		execl(program, program, "later", symsfile, (char *)NULL);
		_exit(99);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Here again, after others were: the old file is thrown away block by block. */
static void discard(void)
{
	struct objfile *objfile;
	struct mstats stats;
	void *md;
	int fd;

	fd = open_syms(0);
	md = mmalloc_attach(fd, (void *)0);
	close(fd);
	ok(md != NULL, "attach again");
	objfile = (struct objfile *)mmalloc_getkey(md, 0);
	ok(objfile != NULL && objfile->count == 3 * SYMBOLS, "what two later runs added is there");
	if (objfile == NULL)
		exit(1);
	own_functions(objfile, md);
	obstack_free(&objfile->symbol_obstack, NULL);
	mfree(md, (void *)objfile);
	mmalloc_setkey(md, 0, (void *)0);
	stats = mmstats(md);
	ok(stats.chunks_used == 0, "nothing is left");
	ok(mmalloc_detach(md) == NULL, "detach again");
}

/* Vectors that grow as they are read, of the default heap: a NULL descriptor. */
static void grow(void *md, const char *what)
{
	unsigned long *vec = NULL;
	char *text, *zeros;
	int used, room = 0, good = 1;

	for (used = 0; used < 100000; used++) {
		if (used == room) {
			room = room ? room * 2 : 10;
			vec = (unsigned long *)xmrealloc(md, (void *)vec, (size_t)room * sizeof(*vec));
		}
		vec[used] = (unsigned long)used;
	}
	while (used-- > 0)
		good &= vec[used] == (unsigned long)used;
	zeros = (char *)mcalloc(md, 100, 3);
	text = (char *)mvalloc(md, 10);
	good &= zeros != NULL && zeros[299] == 0 && text != NULL && (unsigned long)text % 4096 == 0;
	mfree(md, mmemalign(md, 512, 100));
	mfree(md, text);
	mfree(md, zeros);
	mfree(md, (void *)vec);
	mfree(md, (void *)0);
	good &= mrealloc(md, mmalloc(md, 10), 0) == NULL && mmalloc(md, 0) == NULL;
	ok(good, what);
}

/* They were called through pointers: functions, with these types. */
static void through_pointers(void)
{
	void *(*alloc)(void *, size_t) = mmalloc;
	void *(*change)(void *, void *, size_t) = mrealloc;
	void (*give)(void *, void *) = mfree;
	void *block;

	block = (*change)(NULL, (*alloc)(NULL, 10), 100000);
	ok(block != NULL, "called through pointers");
	(*give)(NULL, block);
}

static void not_a_heap(void)
{
	int fd;

	fd = open_syms(O_TRUNC);
	ok(write(fd, "#include <stdio.h>\n", 19) == 19 && mmalloc_attach(fd, (void *)0) == NULL, "another file");
	close(fd);
}

int main(int argc, char **argv)
{
	void *md;

	if (argc == 3 && strcmp(argv[1], "later") == 0) {
		strncpy(symsfile, argv[2], sizeof(symsfile) - 1);
		return later_run();
	}
	strcpy(symsfile, "mmallocXXXXXX");
	close(mkstemp(symsfile));
	build();
	ok(run_again(argv[0]) == 0, "a fresh process looks up, and adds");
	ok(run_again(argv[0]) == 0, "and another one");
	discard();
	not_a_heap();
	unlink(symsfile);
	grow(NULL, "the default heap");
	md = mmalloc_attach(-1, (void *)0);
	ok(md != NULL, "attach without a file");
	grow(md, "a heap without a file");
	ok(mmalloc_detach(md) == NULL, "detach it");
	through_pointers();
	printf("1..%d\n", tests);
	return failures != 0;
}
