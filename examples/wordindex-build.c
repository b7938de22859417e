/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wordindex INDEX build: walk the tree, lay out an empty index, start workers, and look after them.
 *
 * The index becomes visible with one store, qalloc_casroot(). From then on the map says all that
 * there is to know: when this process is killed too, another "build" goes on with the files that
 * are not done.
 */
#define _GNU_SOURCE 1
#include "wordindex.h"

#include <errno.h>
#include <fts.h>
#include <qalloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct list {
	struct file *files; /* paths from strdup() */
	size_t n, room;
	uint64_t compressed;
};

struct progress {
	uint64_t files, bytes; /* done */
	uint64_t all_bytes;
};

#define NO_KILL UINT64_MAX

struct foreman {
	const struct build *how;
	void *map;
	struct index *index;
	pid_t *workers; /* 0: no worker in this place */
	unsigned alive, lost;
	bool failed;
	double shown_ms;
	uint64_t kill_from; /* look for a victim when so many files are done; or NO_KILL */
};

static bool list_add(struct list *list, const char *path, uint64_t bytes)
{
	if (list->n == list->room) {
		size_t room = list->room * 2 + 1024;
		void *files = realloc(list->files, room * sizeof(*list->files));

		if (files == NULL)
			return false;
		list->files = files;
		list->room = room;
	}
	list->files[list->n] = (struct file){ .path = strdup(path), .bytes = bytes };
	return list->files[list->n++].path != NULL;
}

static bool ends_in(const char *text, size_t length, const char *end)
{
	return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

/* All plain files below dirs, as find -H has them: only dirs may be symbolic links. */
static bool list_walk(struct list *list, char *const *dirs)
{
	FTS *fts = fts_open(dirs, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
	FTSENT *entry;
	bool good = fts != NULL;

	while (good && (entry = fts_read(fts)) != NULL) {
		if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
			fprintf(stderr, "wordindex: %s: %s\n", entry->fts_path, strerror(entry->fts_errno));
		if (entry->fts_info != FTS_F)
			continue;
		if (ends_in(entry->fts_name, entry->fts_namelen, ".gz"))
			list->compressed++;
		else
			good = list_add(list, entry->fts_path, (uint64_t)entry->fts_statp->st_size);
	}
	if (fts != NULL)
		fts_close(fts);
	return good;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

/* A tree may have been named twice. */
static void list_sort(struct list *list)
{
	size_t n = 0;

	if (list->n != 0)
		qsort(list->files, list->n, sizeof(*list->files), by_path);
	for (size_t i = 0; i < list->n; i++) {
		if (n != 0 && strcmp(list->files[n - 1].path, list->files[i].path) == 0)
			free((char *)list->files[i].path);
		else
			list->files[n++] = list->files[i];
	}
	list->n = n;
}

static void list_free(struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free((char *)list->files[i].path);
	free(list->files);
}

/* Nobody sees the blocks taken here before show() sets the root. */
static struct index *index_new(void *map, const struct list *list)
{
	struct index *index = qalloc_calloc(map, 1, sizeof(*index));

	if (index == NULL)
		return NULL;
	index->nfiles = list->n;
	index->nbuckets = WORDINDEX_BUCKETS;
	index->compressed = list->compressed;
	index->files = qalloc_calloc(map, list->n + 1, sizeof(*index->files));
	index->buckets = qalloc_calloc(map, index->nbuckets, sizeof(*index->buckets));
	if (index->files == NULL || index->buckets == NULL)
		return NULL;
	for (size_t i = 0; i < list->n; i++) {
		size_t length = strlen(list->files[i].path) + 1;
		char *path = qalloc_malloc(map, length);

		if (path == NULL)
			return NULL;
		index->files[i].path = memcpy(path, list->files[i].path, length);
		index->files[i].bytes = list->files[i].bytes;
	}
	return index;
}

static void index_free(void *map, struct index *index)
{
	for (size_t i = 0; i < index->nfiles; i++)
		qalloc_free((char *)index->files[i].path, map);
	qalloc_free(index->files, map);
	qalloc_free(index->buckets, map);
	qalloc_free(index, map);
}

/* One step; when another process that builds the same index took it first, that one's index counts. */
static struct index *show(void *map, struct index *index)
{
	void *known = NULL;
	int done = qalloc_casroot(map, WORDINDEX_ROOT, &known, index);

	if (done == 1)
		return index;
	index_free(map, index);
	return done == 0 ? known : NULL;
}

static struct index *lay_out(void *map, char *const *dirs)
{
	struct list list = { 0 };
	struct index *index = NULL;

	if (list_walk(&list, dirs)) {
		list_sort(&list);
		index = index_new(map, &list);
	}
	list_free(&list);
	return index == NULL ? NULL : show(map, index);
}

/*
 * Gives free what a dead worker has claimed and not done (worker 0: what anybody has), and lets the
 * search begin there; also at a file that it was about to claim, having moved the cursor past it.
 */
static void take_back(struct index *index, pid_t worker)
{
	uint64_t first = UINT64_MAX;

	for (uint64_t i = 0; i < index->nfiles; i++) {
		struct file *file = &index->files[i];
		struct attempt *attempt = atomic_load_explicit(&file->claim, memory_order_acquire);

		if (file_is_done(file) || (attempt != NULL && worker != 0 && attempt->worker != worker))
			continue;
		if (attempt != NULL)
			atomic_store_explicit(&file->claim, NULL, memory_order_relaxed);
		if (first == UINT64_MAX)
			first = i;
	}
	if (first != UINT64_MAX)
		atomic_store_explicit(&index->cursor, first, memory_order_release);
}

static struct progress count_done(const struct index *index)
{
	struct progress sum = { 0 };

	for (uint64_t i = 0; i < index->nfiles; i++) {
		bool done = file_is_done(&index->files[i]);

		sum.files += done;
		sum.bytes += done ? index->files[i].bytes : 0;
		sum.all_bytes += index->files[i].bytes;
	}
	return sum;
}

static void show_progress(struct foreman *me, struct progress done)
{
	static const char bar[] = "##############################..............................";
	uint64_t filled = done.all_bytes != 0 ? 30 * done.bytes / done.all_bytes : 30;
	double now = now_ms();

	if (!isatty(STDOUT_FILENO) || now - me->shown_ms < 50)
		return;
	me->shown_ms = now;
	printf("\r[%.30s] %llu/%llu files, %.1f MB, %u workers \033[K", bar + 30 - filled,
	       (unsigned long long)done.files, (unsigned long long)me->index->nfiles, (double)done.bytes / 1e6,
	       me->alive);
	fflush(stdout);
}

static void clear_progress(void)
{
	if (isatty(STDOUT_FILENO))
		fputs("\r\033[K", stdout);
}

static bool start_worker(struct foreman *me, pid_t *place)
{
	pid_t parent = getpid();

	fflush(NULL);
	*place = fork();
	if (*place == 0) {
		int status = 1;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			status = work(me->map, me->index);
		if (qalloc_close(me->map) != 0)
			status = 1;
		_exit(status);
	}
	if (*place < 0) {
		perror("wordindex: fork");
		*place = 0;
		me->failed = true;
		return false;
	}
	me->alive++;
	return true;
}

/* A worker has ended: take back what it leaves undone. */
static void worker_ended(struct foreman *me, pid_t worker, int status)
{
	for (unsigned i = 0; i < me->how->workers; i++)
		if (me->workers[i] == worker)
			me->workers[i] = 0;
	me->alive--;
	if (WIFSIGNALED(status)) {
		me->lost++;
		take_back(me->index, worker);
	} else if (WEXITSTATUS(status) != 0) {
		me->failed = true;
	}
}

static void reap(struct foreman *me, int flags)
{
	int status;
	pid_t worker;

	while (me->alive != 0 && (worker = waitpid(-1, &status, flags)) != 0)
		if (worker > 0)
			worker_ended(me, worker, status);
}

/* Starts workers where they are missing. Ten that died are enough. */
static void fill_up(struct foreman *me)
{
	if (me->lost >= 10) {
		fputs("wordindex: too many workers have died\n", stderr);
		me->failed = true;
	}
	for (unsigned i = 0; i < me->how->workers && !me->failed; i++)
		if (me->workers[i] == 0 && !start_worker(me, &me->workers[i]))
			return;
}

/* Stop a worker. Kill it when it is in the middle of a file, with postings made; else let it go on.
 */
static bool kill_in_the_middle(struct foreman *me, pid_t worker)
{
	siginfo_t info;

	if (kill(worker, SIGSTOP) != 0 || waitid(P_PID, (id_t)worker, &info, WSTOPPED | WEXITED | WNOWAIT) != 0)
		return false;
	for (uint64_t i = 0; info.si_code == CLD_STOPPED && i < me->index->nfiles; i++) {
		struct file *file = &me->index->files[i];
		struct attempt *attempt = atomic_load_explicit(&file->claim, memory_order_acquire);
		uint64_t words;

		if (attempt == NULL || attempt->worker != worker || file_is_done(file))
			continue;
		words = atomic_load_explicit(&attempt->words, memory_order_relaxed);
		if (words == 0)
			break;
		kill(worker, SIGKILL);
		clear_progress();
		printf("killed a worker in the middle of %s, %llu words into it\n", file->path,
		       (unsigned long long)words);
		return true;
	}
	kill(worker, SIGCONT);
	return false;
}

static void look_for_victim(struct foreman *me)
{
	for (unsigned i = 0; i < me->how->workers && me->kill_from != NO_KILL; i++)
		if (me->workers[i] != 0 && kill_in_the_middle(me, me->workers[i]))
			me->kill_from = NO_KILL;
}

static void nap_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

/* Until every file is done. */
static void oversee(struct foreman *me)
{
	struct progress done;

	while ((done = count_done(me->index)).files < me->index->nfiles && !me->failed) {
		unsigned lost = me->lost;

		reap(me, WNOHANG);
		if (me->alive == 0)
			take_back(me->index, 0);
		if (me->alive == 0 || me->lost != lost)
			fill_up(me);
		if (done.files >= me->kill_from)
			look_for_victim(me);
		else if (me->kill_from == NO_KILL)
			nap_ms(10);
		show_progress(me, done);
	}
	for (unsigned i = 0; i < me->how->workers && me->failed; i++)
		if (me->workers[i] != 0)
			kill(me->workers[i], SIGKILL);
	reap(me, 0);
	clear_progress();
}

static void build_report(const struct foreman *me, double ms)
{
	struct progress done = count_done(me->index);

	printf("indexed %llu of %llu files, %.1f of %.1f MB, in %.0f ms, with %u workers",
	       (unsigned long long)done.files, (unsigned long long)me->index->nfiles, (double)done.bytes / 1e6,
	       (double)done.all_bytes / 1e6, ms, me->how->workers);
	if (me->lost != 0)
		printf("; %u died, and the others did %s", me->lost,
		       me->lost == 1 ? "its file again" : "their files again");
	putchar('\n');
}

static int build_in(void *map, const struct build *how, pid_t *workers)
{
	struct foreman me = { .how = how, .map = map, .workers = workers, .kill_from = NO_KILL };
	double start = now_ms();
	uint64_t done;

	me.index = qalloc_getroot(map, WORDINDEX_ROOT);
	if (me.index == NULL && (me.index = lay_out(map, how->dirs)) == NULL) {
		fprintf(stderr, "wordindex: laying out the index: %s\n", strerror(errno));
		return 2;
	}
	done = count_done(me.index).files;
	if (done != 0)
		printf("going on after %llu files\n", (unsigned long long)done);
	if (how->kill_one)
		me.kill_from = done + (me.index->nfiles - done) / 3;
	oversee(&me);
	if (qalloc_sync(map) != 0)
		me.failed = true;
	build_report(&me, now_ms() - start);
	if (!me.failed && me.kill_from != NO_KILL)
		fputs("wordindex: all was done before a worker could be killed\n", stderr);
	return me.failed ? 2 : me.kill_from != NO_KILL;
}

int build(const struct build *how)
{
	pid_t *workers = calloc(how->workers, sizeof(*workers));
	/* [make] */
	void *map = qalloc_makedynmap((off_t)how->map_bytes, NULL, how->path, WORDINDEX_STREAMS);
	/* [make] */
	int status = 2;

	if (workers == NULL || map == NULL)
		fprintf(stderr, "wordindex: %s: %s\n", how->path, strerror(errno));
	else
		status = build_in(map, how, workers);
	if (map != NULL)
		qalloc_close(map);
	free(workers);
	return status;
}
