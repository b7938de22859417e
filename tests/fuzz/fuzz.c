/* SPDX-License-Identifier: BSD-3-Clause */
/* See fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/header.h"

#define PAGE      4096u
#define LINE      64u
#define MADE_BYTES 512        /* Changes and calls that libFuzzer makes up, at most. */
#define MADE_STEPS 24         /* The same for calls alone: what goes wrong, mostly does so after a few. */
#define FSIZE_MAX (9u << 20) /* Disk space is memory here, and what it costs to be had is most of an input. */

struct template
{
	uint8_t *image;
	size_t bytes;
	uint32_t *page; /* Pages that are not zero. */
	size_t pages;
	uint32_t *word; /* Words of lines that are not zero. */
	size_t words;
};

static struct template templates[FUZZ_MAPS];
static unsigned template_count;
static int file = -1;
static char path[64];
static uint8_t *view; /* The file, as far as it goes. */
static struct stat file_stat;
static uint8_t boot[16];
static const char *only = ""; /* MA_FUZZ_KIND. */
unsigned fuzz_live_maps;
static struct {
	uint8_t first[FUZZ_MAPS];
	unsigned count;
} quick[2]; /* Templates, live maps. */

/* Without fuzz_system.c. */
__attribute__((weak)) int fuzz_new_file(const char *name)
{
	return memfd_create(name, MFD_CLOEXEC);
}

__attribute__((weak)) int fuzz_kernel_fd(int fd)
{
	return fd;
}

_Noreturn void fuzz_failed(const char *where, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s (errno %d)\n", where, line, what, errno);
	abort();
}

/* ---- reading an input ---- */

static uint64_t little(struct fuzz_in *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && in->left; i++) {
		value |= (uint64_t)*in->at++ << 8 * i;
		in->left--;
	}
	return value;
}

uint8_t fuzz_u8(struct fuzz_in *in)
{
	return (uint8_t)little(in, 1);
}

uint16_t fuzz_u16(struct fuzz_in *in)
{
	return (uint16_t)little(in, 2);
}

uint64_t fuzz_u64(struct fuzz_in *in)
{
	return little(in, 8);
}

/* ---- at the start ---- */

static void read_boot_id(void)
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	char text[40] = "";
	unsigned byte;

	fuzz_require(f && fgets(text, sizeof(text), f));
	for (char *at = text, *end = text + 36, *to = (char *)boot; at < end; at += 2) {
		if (*at == '-')
			at++;
		fuzz_require(sscanf(at, "%2x", &byte) == 1);
		*to++ = (char)byte;
	}
	fclose(f);
}

void fuzz_limit_file(size_t bytes)
{
	static size_t was;
	const struct rlimit limit = { bytes ? bytes : FSIZE_MAX, FSIZE_MAX };

	if (limit.rlim_cur == was)
		return;
	was = limit.rlim_cur;
	fuzz_require(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

void fuzz_begin(void)
{
	if (getenv("MA_FUZZ_KIND"))
		only = getenv("MA_FUZZ_KIND");
	signal(SIGXFSZ, SIG_IGN);
	fuzz_limit_file(0);
	file = fuzz_new_file("fuzz");
	fuzz_require(file >= 0 && fstat(file, &file_stat) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	view = mmap(NULL, FUZZ_MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	fuzz_require(view != MAP_FAILED);
	read_boot_id();
}

int fuzz_fd(void)
{
	return file;
}

const char *fuzz_path(void)
{
	return path;
}

void fuzz_same_boot(void)
{
	fuzz_require(pread(file, boot, sizeof(boot), offsetof(struct ma_header, boot_id)) == sizeof(boot));
}

static bool is_zero(const uint8_t *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (at[i])
			return false;
	return true;
}

static void list_pages(struct template *t)
{
	t->page = calloc(t->bytes / PAGE, sizeof(*t->page));
	t->word = calloc(t->bytes / 8, sizeof(*t->word));
	fuzz_require(t->page && t->word);
	for (uint32_t page = 0; page < t->bytes / PAGE; page++) {
		if (is_zero(t->image + page * PAGE, PAGE))
			continue;
		t->page[t->pages++] = page;
		for (uint32_t at = page * PAGE; at < (page + 1) * PAGE; at += 8)
			if (!is_zero(t->image + at / LINE * LINE, LINE))
				t->word[t->words++] = at / 8;
	}
}

void fuzz_template(const char *name)
{
	struct template *t = &templates[template_count++];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat st;

	fuzz_require(template_count <= FUZZ_MAPS && fd >= 0 && fstat(fd, &st) == 0);
	t->bytes = (size_t)st.st_size;
	fuzz_require(t->bytes % PAGE == 0 && t->bytes <= FUZZ_MAP_BYTES);
	t->image = calloc(1, t->bytes);
	fuzz_require(t->image && pread(fd, t->image, t->bytes, 0) == st.st_size);
	close(fd);
	list_pages(t);
}

bool fuzz_is_live(uint8_t first)
{
	return first >= FUZZ_LIVE;
}

bool fuzz_is_wanted(uint8_t first)
{
	return !*only || (*only == 'l') == fuzz_is_live(first);
}

int fuzz_steps(int most)
{
	return *only && most > MADE_STEPS ? MADE_STEPS : most;
}

void fuzz_quick(unsigned first)
{
	bool live = fuzz_is_live((uint8_t)first);

	fuzz_require(quick[live].count < FUZZ_MAPS);
	quick[live].first[quick[live].count++] = (uint8_t)first;
}

/* Of 64 inputs one is for any map of its kind. */
static uint8_t first_byte(uint8_t from, bool live, unsigned seed)
{
	unsigned count = live ? fuzz_live_maps : template_count + 1;

	if (quick[live].count && seed % 64)
		return quick[live].first[from % quick[live].count];
	return (uint8_t)((live ? FUZZ_LIVE : 0) + from % ma_max(count, 1));
}

/* libFuzzer's, and what it calls for each new input. */
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
	bool live = *only == 'l' && fuzz_live_maps;

	size = LLVMFuzzerMutate(data, size, most);
	if (size == 0 || !*only)
		return size;
	data[0] = first_byte(data[0], live, seed);
	if (live || data[0] == 0)
		return size;
	/* Three of four maps are opened once: the second time takes as long as the first. */
	if (size > 1 && seed / 64 % 4)
		data[1] |= FUZZ_ONCE;
	return size < MADE_BYTES ? size : MADE_BYTES;
}

unsigned fuzz_templates(void)
{
	return template_count;
}

/* ---- from an input to a file ---- */

static void set_length(size_t bytes)
{
	fuzz_require(ftruncate(file, (off_t)bytes) == 0);
}

static size_t length(void)
{
	struct stat st;

	fuzz_require(fstat(file, &st) == 0);
	return (size_t)st.st_size;
}

/* Bounds, powers of two, and what would be right for something else. */
static uint64_t telling(const struct template *t, uint8_t which)
{
	const uint64_t values[] = {
		0,
		1,
		2,
		3,
		7,
		8,
		16,
		63,
		64,
		65,
		127,
		192,
		193,
		255,
		256,
		4095,
		4096,
		4160,
		65535,
		65536,
		1u << 31,
		UINT32_MAX,
		(uint64_t)1 << 32,
		(uint64_t)1 << 46,
		(uint64_t)1 << 47,
		(uint64_t)1 << 52,
		(uint64_t)1 << 63,
		INT64_MAX,
		UINT64_MAX - 4095,
		UINT64_MAX,
		t->bytes,
		t->bytes - 4096,
		t->bytes / 65536,
		t->bytes / 69696,
		t->bytes * 2,
		(uint64_t)1 << 40,
	};

	return values[which % (sizeof(values) / sizeof(values[0]))];
}

static size_t which_word(const struct template *t, struct fuzz_in *in, bool anywhere)
{
	size_t n = (size_t)little(in, 3);

	return anywhere ? n % (t->bytes / 8) : t->word[n % t->words];
}

static uint64_t packed(struct fuzz_in *in)
{
	uint64_t kind = fuzz_u8(in);
	uint64_t middle = fuzz_u8(in);

	return (uint64_t)fuzz_u16(in) << 12 | middle << 4 | (kind & 15);
}

static void change(const struct template *t, struct fuzz_in *in, size_t *end)
{
	uint8_t operation = fuzz_u8(in);
	size_t word = which_word(t, in, operation & FUZZ_ANYWHERE);
	uint64_t *words = (uint64_t *)(void *)view;
	size_t count;

	switch ((operation & 0x7f) % 10) {
	case 0:
		words[word] = fuzz_u64(in);
		break;
	case 1:
		view[word * 8 + fuzz_u8(in) % 8] = fuzz_u8(in);
		break;
	case 2:
		words[word] += (uint64_t)(int64_t)(int8_t)fuzz_u8(in);
		break;
	case 3:
		words[word] ^= (uint64_t)1 << fuzz_u8(in) % 64;
		break;
	case 4:
		words[word] = telling(t, fuzz_u8(in));
		break;
	case 5:
		words[word] = words[which_word(t, in, false)];
		break;
	case 6:
		words[word] = packed(in);
		break;
	case 7:
		count = (size_t)fuzz_u8(in) * 8;
		if (count > t->bytes / 8 - word)
			count = t->bytes / 8 - word;
		memset(words + word, fuzz_u8(in), count * 8);
		break;
	case 8:
		*end = word * 8;
		break;
	default:
		((uint32_t *)(void *)view)[word * 2 + fuzz_u8(in) % 2] = fuzz_u16(in);
		break;
	}
}

/* The C library's memcmp(), without what sanitizers add to it. */
bool fuzz_differs(const void *a, const void *b, size_t bytes)
{
	static int (*compare)(const void *, const void *, size_t);

	if (!compare)
		*(void **)&compare = dlsym(RTLD_NEXT, "memcmp");
	return compare(a, b, bytes) != 0;
}

static void copy_back(const struct template *t, size_t from, size_t to)
{
	for (size_t at = from; at < to; at += PAGE)
		if (fuzz_differs(view + at, t->image + at, PAGE))
			memcpy(view + at, t->image + at, PAGE);
}

/* Those of the template's pages that lie before this place in the file. Returns how many are restored now, of which so many were. */
static size_t restore_pages(const struct template *t, size_t restored, size_t end)
{
	for (; restored < t->pages && (size_t)t->page[restored] * PAGE < end; restored++)
		copy_back(t, (size_t)t->page[restored] * PAGE, ((size_t)t->page[restored] + 1) * PAGE);
	return restored;
}

/* Only what differs: pages that an input before has left there, and in the holes between them the template's own. */
static void restore(const struct template *t)
{
	int fd = fuzz_kernel_fd(file);
	size_t restored = 0;
	off_t at, end;

	if (length() != t->bytes)
		set_length(t->bytes);
	for (at = lseek(fd, 0, SEEK_DATA); at >= 0 && (size_t)at < t->bytes; at = lseek(fd, end, SEEK_DATA)) {
		end = lseek(fd, at, SEEK_HOLE);
		restored = restore_pages(t, restored, (size_t)at);
		copy_back(t, (size_t)at, (size_t)end < t->bytes ? (size_t)end : t->bytes);
		while (restored < t->pages && (size_t)t->page[restored] * PAGE < (size_t)end)
			restored++;
	}
	restore_pages(t, restored, t->bytes);
}

static void from_template(const struct template *t, unsigned changes, struct fuzz_in *in)
{
	size_t end = t->bytes;

	restore(t);
	while (changes-- > 0 && in->left)
		change(t, in, &end);
	if (end != t->bytes)
		set_length(end);
}

static void from_bytes(size_t calls, struct fuzz_in *in)
{
	size_t bytes;

	if (calls > in->left)
		calls = in->left;
	bytes = in->left - calls;
	if (bytes > FUZZ_MAP_BYTES)
		bytes = FUZZ_MAP_BYTES;
	set_length(0);
	set_length(bytes);
	memcpy(view, in->at + calls, bytes);
	in->left = calls;
}

static void mend(unsigned options)
{
	struct ma_header *h = (struct ma_header *)(void *)view;

	if (length() < sizeof(*h))
		return;
	if (options & FUZZ_CERTAIN) {
		h->device = file_stat.st_dev;
		h->inode = file_stat.st_ino;
		h->mount = ma_boot_mount(file);
		memcpy(h->boot_id, boot, sizeof(boot));
	} else {
		h->inode = 0; /* Most templates were made in this very file. */
	}
	if (!(options & FUZZ_AS_IS))
		h->crc = ma_header_crc(h);
}

bool fuzz_file(struct fuzz_in *in, unsigned *options)
{
	unsigned map = fuzz_u8(in);
	unsigned count;

	fuzz_limit_file(0);
	*options = fuzz_u8(in);
	count = fuzz_u8(in);
	if (map > template_count)
		return false;
	if (map == 0)
		from_bytes(count, in);
	else
		from_template(&templates[map - 1], count, in);
	mend(*options);
	return true;
}
