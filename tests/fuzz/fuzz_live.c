/* SPDX-License-Identifier: BSD-3-Clause */
/* See fuzz_live.h. */
#include "tests/fuzz/fuzz_live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base.h"

#define PAGE  4096u
#define BLOCK (16 * PAGE) /* Is compared at a time. */

static bool small;

void fuzz_live_small(void)
{
	small = true;
}

int fuzz_live_file(struct fuzz_live *live, char path[64])
{
	live->fd = fuzz_new_file("live");
	fuzz_require(live->fd >= 0);
	fuzz_live_maps++;
	live->small = small;
	snprintf(path, 64, "/proc/self/fd/%d", live->fd);
	live->view = mmap(NULL, FUZZ_LIVE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, live->fd, 0);
	fuzz_require(live->view != MAP_FAILED);
	return live->fd;
}

static size_t length_of(const struct fuzz_live *live)
{
	struct stat st;

	fuzz_require(fstat(live->fd, &st) == 0);
	return (size_t)st.st_size;
}

void fuzz_live_ready(struct fuzz_live *live, uint64_t units)
{
	live->bytes = length_of(live);
	live->units = units;
	fuzz_require(live->bytes <= FUZZ_LIVE_BYTES);
	live->image = malloc(live->bytes);
	fuzz_require(live->image);
	fuzz_require(pread(fuzz_kernel_fd(live->fd), live->image, live->bytes, 0) == (ssize_t)live->bytes);
}

void fuzz_live_field(struct fuzz_live *live, enum fuzz_kind kind, uint64_t at, uint64_t count, uint32_t stride)
{
	fuzz_require(live->fields < FUZZ_LIVE_FIELDS);
	if (count && at + (count - 1) * stride + 8 <= live->bytes)
		live->field[live->fields++] = (struct fuzz_field){ kind, at, count, stride };
}

static void copy_back(struct fuzz_live *live, size_t from, size_t to)
{
	if (!fuzz_differs(live->view + from, live->image + from, to - from))
		return;
	for (size_t at = from; at < to; at += PAGE) {
		size_t size = ma_min(PAGE, to - at);

		if (fuzz_differs(live->view + at, live->image + at, size))
			memcpy(live->view + at, live->image + at, size);
	}
}

/* What is a hole was not touched. */
void fuzz_live_reset(struct fuzz_live *live)
{
	int fd = fuzz_kernel_fd(live->fd);
	size_t bytes = length_of(live);
	off_t at, end;

	fuzz_require(bytes >= live->bytes);
	if (bytes > live->bytes)
		fuzz_require(ftruncate(live->fd, (off_t)live->bytes) == 0);
	for (at = lseek(fd, 0, SEEK_DATA); at >= 0; at = lseek(fd, end, SEEK_DATA)) {
		end = lseek(fd, at, SEEK_HOLE);
		for (size_t from = (size_t)at; from < (size_t)end; from += BLOCK)
			copy_back(live, from, ma_min((size_t)end, from + BLOCK));
	}
}

/* ---- values ---- */

static uint64_t near(uint64_t n, struct fuzz_in *in)
{
	return n + (uint64_t)(int64_t)(int8_t)fuzz_u8(in);
}

static uint64_t any(const struct fuzz_live *live, struct fuzz_in *in)
{
	const uint64_t values[] = {
		0,
		1,
		63,
		64,
		65,
		UINT32_MAX,
		(uint64_t)1 << 32,
		UINT64_MAX,
		INT64_MAX,
		live->bytes,
		live->units,
		live->units * 64,
	};
	uint8_t how = fuzz_u8(in);

	if (how < 64)
		return near(values[how % (sizeof(values) / sizeof(values[0]))], in);
	return how < 128 ? fuzz_u16(in) : how < 160 ? (uint64_t)1 << how % 64 : fuzz_u64(in);
}

static uint64_t link_to(const struct fuzz_live *live, struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);
	uint64_t unit = fuzz_u8(in) % (live->units + 2);

	if (how < 96)
		return unit + 1;
	if (how < 192) /* A small slab. */
		return (0x80000000u | unit << 6 | fuzz_u8(in) % 64) + 1;
	return any(live, in);
}

static uint64_t word(const struct fuzz_live *live, struct fuzz_in *in)
{
	uint8_t kind = fuzz_u8(in), class = fuzz_u8(in), how = fuzz_u8(in);
	uint64_t argument = how < 128 ? how % (live->units + 2) : how < 192 ? near(live->units, in) : any(live, in);

	return argument << 12 | (uint64_t)(class & 0x80 ? class : class % 82) << 4 |
	       (kind & 0x80 ? kind & 15 : kind % 7);
}

static uint64_t spot(const struct fuzz_live *live, struct fuzz_in *in)
{
	static const uint32_t recips[] = {
		UINT32_MAX, 0x10000000, 0x04000000, 0x10000001, 0x80000000, 0x02000000, 1, 0
	};
	uint64_t lines = live->bytes / 256, line = fuzz_u16(in);
	uint8_t how = fuzz_u8(in);

	line = how & 1 ? lines + 64 - line % 512 : how & 2 ? line % (lines + 1) : line;
	return line << 32 | (how & 4 ? (uint32_t)fuzz_u64(in) : recips[how >> 3 & 7]);
}

static uint64_t tree(struct fuzz_in *in)
{
	uint64_t busy = fuzz_u16(in), rest = fuzz_u16(in);
	uint8_t how = fuzz_u8(in);

	switch (how % 4) {
	case 0: /* Of 32 leaves. */
		return (busy | rest << 16) | (uint64_t)1 << 32 | (how & 4 ? (uint64_t)fuzz_u16(in) << 33 : 0);
	case 1: /* Of 8. */
		return (busy & 0xff) | 1 << 8 | (rest & 0xfe) << 8 | (busy >> 8) << 16 | (uint64_t)(rest >> 8) << 24;
	case 2:
		return busy << 24 | (rest & 1);
	default:
		return UINT64_C(0x1ffffffff) << (how >> 2) % 32;
	}
}

static uint64_t value(const struct fuzz_live *live, enum fuzz_kind kind, struct fuzz_in *in)
{
	switch (kind) {
	case FUZZ_BYTE:
		return fuzz_u8(in) % 3;
	case FUZZ_LINK:
		return link_to(live, in);
	case FUZZ_LOCK:
		return fuzz_u8(in) % 80 | (uint64_t)fuzz_u8(in) << 24;
	case FUZZ_WORD:
		return word(live, in);
	case FUZZ_SPOT:
		return spot(live, in);
	case FUZZ_TAG:
		return (uint64_t)fuzz_u16(in) << 16 | fuzz_u8(in) % 20 | (uint64_t)(fuzz_u8(in) & 1) << 63;
	case FUZZ_LENGTH:
		return fuzz_u8(in) & 1 ? (uint64_t)fuzz_u16(in) << 8 : near(live->bytes, in) + fuzz_u8(in) * 4096u;
	case FUZZ_OFFSET:
		return fuzz_u64(in) % (live->bytes + 4096);
	case FUZZ_TREE:
		return tree(in);
	default:
		return any(live, in);
	}
}

static size_t bytes_of(enum fuzz_kind kind)
{
	return kind == FUZZ_BYTE ? 1 : kind == FUZZ_LINK || kind == FUZZ_LOCK ? 4 : 8;
}

/* A value of the field's kind, one of another kind, a bit, or what another word of the field says. */
static void change(struct fuzz_live *live, struct fuzz_in *in)
{
	const struct fuzz_field *field = &live->field[fuzz_u8(in) % live->fields];
	uint64_t at = field->at + fuzz_u16(in) % field->count * field->stride, to, was = 0;
	size_t size = bytes_of(field->kind);
	uint8_t how = fuzz_u8(in);

	memcpy(&was, live->view + at, size);
	if (how < 160)
		to = value(live, field->kind, in);
	else if (how < 192)
		to = was ^ (uint64_t)1 << how % 64;
	else if (how < 224)
		to = near(was, in);
	else if (how < 240)
		memcpy(&to, live->view + field->at + fuzz_u16(in) % field->count * field->stride, 8);
	else
		to = any(live, in);
	memcpy(live->view + at, &to, size);
}

void fuzz_live_steps(struct fuzz_live *live, struct fuzz_in *in, void (*call)(struct fuzz_in *in))
{
	fuzz_limit_file(live->small ? FUZZ_LIVE_SMALL : 0);
	for (int i = fuzz_steps(FUZZ_LIVE_STEPS); i > 0 && in->left; i--)
		if (fuzz_u8(in) & 1)
			change(live, in);
		else
			call(in);
}

void fuzz_live_touch(const struct fuzz_live *live, const void *at, size_t size)
{
	const volatile uint8_t *bytes = at;

	(void)live;
	if (size) {
		(void)bytes[0];
		(void)bytes[size - 1];
	}
}
