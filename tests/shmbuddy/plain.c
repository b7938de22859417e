/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the other programs of this folder test, without GLib and the test library: so that tests/install/m32 can build it where there is
 * no 32-bit GLib. Prints its own TAP.
 *
 *     plain               all cases
 *     plain make FILE     make a region
 *     plain refuse FILE   succeed when FILE, a region of another word size, is refused as such
 */
#include <errno.h>
#include <fcntl.h>
#include <shmbuddy.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB 1024u
#define MIB (KIB * KIB)

static int cases, failures, wrong;
static char file[64];

#define expect(condition)                                                                                \
	do {                                                                                             \
		if (!(condition)) {                                                                      \
			printf("# line %d: %s does not hold (errno %d)\n", __LINE__, #condition, errno); \
			wrong++;                                                                         \
		}                                                                                        \
	} while (0)
#define fails(error, call) expect((errno = 0, (call)) && errno == (error))

static void done(const char *what)
{
	printf("%sok %d - /shmbuddy/plain/%s\n", wrong ? "not " : "", ++cases, what);
	fflush(stdout);
	failures += wrong != 0;
	wrong = 0;
}

static shmbuddy_t *make(uint64_t capacity, uint64_t smallest, uint64_t largest)
{
	const struct shmbuddy_options options = { .capacity = capacity, .smallest = smallest, .largest = largest };
	shmbuddy_t *r = shmbuddy_open(file, &options);

	if (!r) {
		printf("Bail out! no region in %s: %s\n", file, strerror(errno));
		exit(1);
	}
	return r;
}

static void finish(shmbuddy_t *r)
{
	expect(shmbuddy_check(r, NULL, NULL) == 0);
	expect(shmbuddy_close(r) == 0);
	expect(shmbuddy_unlink(file) == 0);
}

static int give(shm_offt offset, size_t size, void *r)
{
	(void)size;
	return shmbuddy_free(r, offset);
}

static int is_whole(shmbuddy_t *r)
{
	struct shmbuddy_stats st;

	return shmbuddy_stats(r, &st) == 0 && st.used_blocks == 0 && st.largest_free == st.largest;
}

/* ---- basic ---- */

/* Bytes of every block carry its number, so two that overlap are found out. */
static void fill(shmbuddy_t *r, size_t size, size_t capacity)
{
	size_t most = capacity / size, n = 0;
	shm_offt *at = calloc(most + 1, sizeof(*at));

	while (n <= most && (at[n] = shmbuddy_malloc(r, size)) != SHM_NULL)
		n++;
	expect(n == most && errno == ENOMEM);
	for (size_t i = 0; i < n; i++)
		memset(shmbuddy_address(r, at[i]), (int)(i * 7), size);
	for (size_t i = 0; i < n; i++) {
		const unsigned char *bytes = shmbuddy_address(r, at[i]);

		for (size_t k = 0; k < size; k++)
			wrong += bytes[k] != (unsigned char)(i * 7);
		expect(shmbuddy_usable_size(r, at[i]) == size && shmbuddy_free(r, at[i]) == 0);
	}
	free(at);
}

static void shapes(void)
{
	static const uint64_t shape[][3] = {
		{ 64 * KIB, 32, KIB },  { 64 * KIB, 16, 64 * KIB },    { 4 * KIB, 32, 32 },
		{ 3 * MIB, 4096, MIB }, { 256 * MIB, MIB, 128 * MIB },
	};

	for (size_t i = 0; i < sizeof(shape) / sizeof(shape[0]); i++) {
		shmbuddy_t *r = make(shape[i][0], shape[i][1], shape[i][2]);
		struct shmbuddy_stats st = { 0 };

		expect(shmbuddy_stats(r, &st) == 0 && st.capacity >= shape[i][0] && st.largest == shape[i][2]);
		for (uint64_t size = st.smallest; size <= st.largest && size <= 4 * MIB; size *= 4)
			fill(r, (size_t)size, (size_t)st.capacity);
		expect(is_whole(r));
		finish(r);
	}
	done("shapes");
}

static unsigned next_random(unsigned *state)
{
	*state = *state * 1103515245u + 12345u;
	return *state >> 8;
}

/* Random calls; who holds a block finds its own bytes in it. */
static void work(shmbuddy_t *r, unsigned seed, unsigned steps)
{
	struct {
		shm_offt at;
		size_t size;
		unsigned char mark;
	} live[50] = { { 0 } };
	unsigned state = seed;

	for (unsigned step = 0; step < steps; step++) {
		size_t k = next_random(&state) % 50, size = next_random(&state) % 1000 + 1;
		shm_offt at = live[k].at, to = SHM_NULL;
		unsigned what = next_random(&state) % 3;

		for (size_t i = 0; at && i < live[k].size; i++)
			wrong += ((unsigned char *)shmbuddy_address(r, at))[i] != live[k].mark;
		if (!at)
			to = what ? shmbuddy_malloc(r, size) : shmbuddy_calloc(r, size, 1);
		else if (what == 0)
			to = shmbuddy_realloc(r, at, size);
		else
			wrong += shmbuddy_free(r, at) != 0;
		if (!to && at && what == 0)
			continue;
		live[k].at = to;
		live[k].size = size;
		live[k].mark = (unsigned char)(seed + step);
		if (to)
			memset(shmbuddy_address(r, to), live[k].mark, size);
	}
	for (size_t k = 0; k < 50; k++)
		wrong += shmbuddy_free(r, live[k].at) != 0;
}

static void calls(void)
{
	shmbuddy_t *r = make(64 * KIB, 16, 16 * KIB);
	struct shmbuddy_stats st = { 0 };
	char *base = shmbuddy_base(r);
	size_t huge = ~(size_t)0;
	shm_offt a, b;

	work(r, 1, 20000);
	expect(is_whole(r) && shmbuddy_stats(r, &st) == 0);
	a = shmbuddy_realloc(r, SHM_NULL, 100);
	strcpy(shmbuddy_address(r, a), "kept");
	b = shmbuddy_realloc(r, a, 9000);
	expect(strcmp(base + b, "kept") == 0 && shmbuddy_offset(r, base + b + 8999) == b + 8999);
	fails(ENOMEM, !shmbuddy_realloc(r, b, 16 * KIB + 1));
	fails(ENOMEM, !shmbuddy_malloc(r, huge) && !shmbuddy_malloc(r, huge / 2 + 2) && !shmbuddy_malloc(r, huge - 15));
	fails(ENOMEM, !shmbuddy_calloc(r, huge, 2) && !shmbuddy_calloc(r, huge / 16 + 1, 17));
	fails(EINVAL, shmbuddy_free(r, b + 16) && shmbuddy_free(r, (shm_offt)-1) && shmbuddy_free(r, (shm_offt)-16));
	fails(EINVAL, !shmbuddy_address(r, (shm_offt)st.region_bytes) && !shmbuddy_address(r, 4096));
	fails(EINVAL,
	      !shmbuddy_offset(r, base) && !shmbuddy_offset(r, base + st.region_bytes) && !shmbuddy_offset(r, &a));
	expect(shmbuddy_free(r, b) == 0);
	fails(EINVAL, shmbuddy_free(r, b));
	expect(is_whole(r));
	finish(r);
	fails(EBADF, !shmbuddy_malloc(r, 1) && shmbuddy_free(r, b) && !shmbuddy_base(r) && shmbuddy_close(r));
	done("calls");
}

static void roots(void)
{
	shmbuddy_t *r = make(64 * KIB, 32, KIB);
	shm_offt a = shmbuddy_malloc(r, 10);
	char name[SHMBUDDY_ROOT_MAX + 2];

	for (int i = 0; i < SHMBUDDY_ROOTS; i++) {
		snprintf(name, sizeof(name), "%0*d", SHMBUDDY_ROOT_MAX, i);
		expect(shmbuddy_setroot(r, name, a + (shm_offt)i) == 0 && shmbuddy_getroot(r, name) == a + (shm_offt)i);
	}
	fails(ENOSPC, shmbuddy_setroot(r, "one more", a));
	expect(shmbuddy_setroot(r, name, SHM_NULL) == 0 && shmbuddy_setroot(r, "one more", a) == 0);
	fails(ENOENT, !shmbuddy_getroot(r, name));
	fails(EINVAL, shmbuddy_setroot(r, "", a) && shmbuddy_setroot(r, "low", 8));
	expect(shmbuddy_setroot(r, NULL, a) == 0 && shmbuddy_getroot(r, NULL) == a);
	finish(r);
	done("roots");
}

/* ---- regions ---- */

static void memory(void)
{
	static char mem[MIB] __attribute__((aligned(64)));
	const struct shmbuddy_options options = { .smallest = 16, .largest = 64 * KIB };
	shmbuddy_t *r, *again;
	shm_offt a;

	memset(mem, 0xa5, sizeof(mem));
	fails(EMEDIUMTYPE, !shmbuddy_join(mem));
	fails(EINVAL, !shmbuddy_join(mem + 8) && !shmbuddy_format(mem, 4096, NULL));
	r = shmbuddy_format(mem, sizeof(mem), &options);
	again = shmbuddy_join(mem);
	expect(r && again);
	a = shmbuddy_malloc(r, 50 * KIB);
	expect(a && shmbuddy_usable_size(again, a) == 64 * KIB && shmbuddy_free(again, a) == 0);
	work(again, 2, 5000);
	expect(is_whole(r) && shmbuddy_close(again) == 0 && shmbuddy_close(r) == 0);
	done("memory");
}

static void descriptors(void)
{
	const struct shmbuddy_options look = { .flags = SHMBUDDY_RDONLY };
	int fd = memfd_create("plain", MFD_CLOEXEC);
	shmbuddy_t *r = shmbuddy_open_fd(fd, NULL), *reader = shmbuddy_open_fd(fd, &look);
	shm_offt a = shmbuddy_malloc(r, 100);

	close(fd);
	expect(r && reader && a && shmbuddy_usable_size(reader, a) == 128);
	fails(EROFS, !shmbuddy_malloc(reader, 1) && shmbuddy_free(reader, a));
	expect(shmbuddy_close(reader) == 0 && shmbuddy_close(r) == 0);
	fails(EBADF, !shmbuddy_open_fd(fd, NULL));
	done("descriptors");
}

/* More than this machine's pointers reach: refused, and no file is left. */
static void limits(void)
{
	const struct shmbuddy_options large = { .capacity = (uint64_t)3 << 30 }, larger = { .capacity = UINT64_MAX };
	shmbuddy_t *r;

	fails(EINVAL, !shmbuddy_open(file, &larger));
	if (sizeof(void *) == 4) {
		fails(ENOMEM, !shmbuddy_open(file, &large));
	} else {
		r = shmbuddy_open(file, &large);
		expect(r != NULL);
		finish(r);
	}
	fails(ENOENT, access(file, F_OK));
	done("limits");
}

/* Each byte of the header that is written once; a length that is too short. */
static void damage(void)
{
	static const int refusals[] = { EMEDIUMTYPE, EPROTOTYPE, EPROTONOSUPPORT, EOPNOTSUPP,
					ENOEXEC,     EBADMSG,    EUCLEAN,         ENODATA };
	char header[152];
	struct stat st;
	int fd;

	shmbuddy_close(make(64 * KIB, 32, KIB));
	fd = open(file, O_RDWR | O_CLOEXEC);
	expect(pread(fd, header, sizeof(header), 0) == sizeof(header) && fstat(fd, &st) == 0);
	for (size_t at = 0; at < sizeof(header); at++) {
		char byte = (char)(header[at] ^ 0x41);
		size_t i = 0;

		expect(pwrite(fd, &byte, 1, (off_t)at) == 1);
		errno = 0;
		expect(!shmbuddy_open(file, NULL));
		while (i < sizeof(refusals) / sizeof(refusals[0]) && refusals[i] != errno)
			i++;
		expect(i < sizeof(refusals) / sizeof(refusals[0]));
		expect(pwrite(fd, header + at, 1, (off_t)at) == 1);
	}
	expect(ftruncate(fd, st.st_size - 4096) == 0);
	fails(ENODATA, !shmbuddy_open(file, NULL));
	expect(ftruncate(fd, st.st_size) == 0);
	close(fd);
	finish(make(0, 0, 0));
	done("damage");
}

/* ---- processes ---- */

static int in_children(unsigned count, void (*run)(unsigned seed))
{
	pid_t pids[16];
	int good = 1, status;

	for (unsigned i = 0; i < count; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			run(i + 10);
			_exit(wrong != 0);
		}
	}
	for (unsigned i = 0; i < count; i++)
		good &= waitpid(pids[i], &status, 0) == pids[i] && status == 0;
	return good;
}

static void open_and_work(unsigned seed)
{
	shmbuddy_t *r = make(MIB, 16, 64 * KIB);

	work(r, seed, 5000);
	expect(shmbuddy_close(r) == 0);
}

static void sharing(void)
{
	shmbuddy_t *r;

	expect(in_children(16, open_and_work)); /* Who comes first makes it. */
	r = make(0, 0, 0);
	expect(is_whole(r));
	finish(r);
	done("sharing");
}

static void kills(void)
{
	shmbuddy_t *r = make(MIB, 16, 64 * KIB);
	int status;

	for (unsigned i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			work(r, i, ~0u);
			_exit(1);
		}
		usleep(500 + i * 137 % 2000);
		expect(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		work(r, 99, 300);
		expect(shmbuddy_check(r, NULL, NULL) == 0 && shmbuddy_walk(r, give, r) == 0);
		expect(shmbuddy_mend(r) == 0 && is_whole(r));
	}
	finish(r);
	done("kills");
}

int main(int argc, char **argv)
{
	bool to_make = argc == 3 && strcmp(argv[1], "make") == 0,
	     to_refuse = argc == 3 && strcmp(argv[1], "refuse") == 0;

	if (to_make || to_refuse) {
		snprintf(file, sizeof(file), "%s", argv[2]);
		if (to_make)
			return shmbuddy_close(make(MIB, 16, 64 * KIB)) != 0;
		fails(ENOEXEC, !shmbuddy_open(file, NULL));
		return wrong != 0;
	}
	snprintf(file, sizeof(file), "./plain-%d.region", (int)getpid());
	unlink(file);
	printf("1..9\n");
	shapes();
	calls();
	roots();
	memory();
	descriptors();
	limits();
	damage();
	sharing();
	kills();
	return failures != 0;
}
