/* SPDX-License-Identifier: BSD-3-Clause */
/* What may be believed of a file, and in which order: whose is it, can we read it, is it whole, does it fit. */
#include "common/header.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/boot.h"
#include "common/crc32c.h"
#include "common/error.h"
#include "common/page.h"

#define USER_TOP ((uint64_t)1 << 47)

#define SAME_MACHINE "use it on a machine like the one that made it"
#define COPY         "restore a copy"

static const struct {
	int error;
	const char *text, *advice;
} refusals[] = {
	[MA_OK] = { 0, "sound", "" },
	[MA_REFUSE_READ] = { EIO, "cannot be read", "check the disk" },
	[MA_REFUSE_MAGIC] = { EMEDIUMTYPE, "is not a map: no magic number",
			      "check that this is the right file or memory" },
	[MA_REFUSE_HALF] = { EMEDIUMTYPE, "is a map whose creation was never finished",
			     "create it again, or remove it" },
	[MA_REFUSE_KIND] = { EPROTOTYPE, "is a map of another kind or another library's", "use the call of its kind" },
	[MA_REFUSE_FORMAT] = { EPROTONOSUPPORT, "has a format version that this library does not read",
			       "use the release that made it" },
	[MA_REFUSE_FEATURE] = { EOPNOTSUPP, "needs features that this library does not have", "use a newer release" },
	[MA_REFUSE_FEATURE_RW] = { EOPNOTSUPP, "has features that this library can only read", "open it read-only" },
	[MA_REFUSE_ORDER] = { ENOEXEC, "was made with another byte order", SAME_MACHINE },
	[MA_REFUSE_WORD] = { ENOEXEC, "was made with another word size", SAME_MACHINE },
	[MA_REFUSE_PAGE] = { ENOEXEC, "was made with another page size", SAME_MACHINE },
	[MA_REFUSE_CRC] = { EBADMSG, "has a damaged header: wrong checksum", COPY },
	[MA_REFUSE_BASE] = { EBADMSG, "has a base that no map can have", COPY },
	[MA_REFUSE_LENGTH] = { EBADMSG, "has lengths that contradict each other", COPY },
	[MA_REFUSE_SHORT] = { ENODATA, "is shorter than its header says: it was truncated", COPY },
	[MA_REFUSE_BODY] = { EUCLEAN, "has a damaged body", "restore a copy; mapalloc check says what is wrong" },
};

const char *ma_refusal_text(enum ma_refusal why)
{
	return refusals[why].text;
}

int ma_refusal_errno(enum ma_refusal why)
{
	return refusals[why].error;
}

const char *ma_kind_text(uint32_t kind)
{
	static const char *const texts[] = {
		[MA_KIND_STATIC] = "a static map of libqalloc, which qalloc_makestatmap(), qalloc_loadmap() and "
				   "qalloc_open() open",
		[MA_KIND_DYNAMIC] = "a dynamic map of libqalloc, which qalloc_makedynmap(), qalloc_loadmap() and "
				    "qalloc_open() open",
		[MA_KIND_MMALLOC] = "a heap of libmmalloc, which mmalloc_attach() opens",
		[MA_KIND_SHMBUDDY] = "a region of libshmbuddy, which shmbuddy_open() opens",
	};

	return kind < MA_COUNT(texts) && texts[kind] ? texts[kind] : "a map of a kind that this release does not know";
}

int ma_refuse(enum ma_refusal why, const char *name, const struct ma_header *h)
{
	int err = why == MA_REFUSE_READ ? errno : ma_refusal_errno(why);

	if (why == MA_REFUSE_KIND)
		return ma_fail(err, "%s: cannot open it here: it is %s; use that call, or another file", name,
			       ma_kind_text(h->kind));
	if (why == MA_REFUSE_FORMAT)
		return ma_fail(err, "%s: cannot open it: it has format version %u, this library reads %u; %s", name,
			       h->format, MA_FORMAT, refusals[why].advice);
	return ma_fail(err, "%s: cannot open it: it %s; %s", name, refusals[why].text, refusals[why].advice);
}

uint32_t ma_header_crc(const struct ma_header *h)
{
	size_t first = offsetof(struct ma_header, kind);

	return ma_crc32c((const char *)h + first, offsetof(struct ma_header, crc) - first);
}

static enum ma_refusal check_identity(const struct ma_header *h, size_t got, unsigned kinds)
{
	if (got < sizeof(h->magic))
		return MA_REFUSE_MAGIC;
	if (memcmp(h->magic, MA_MAGIC_HALF, sizeof(h->magic)) == 0 ||
	    memcmp(h->magic, MA_MAGIC_GIVEN, sizeof(h->magic)) == 0)
		return MA_REFUSE_HALF;
	if (memcmp(h->magic, MA_MAGIC, sizeof(h->magic)) != 0)
		return MA_REFUSE_MAGIC;
	if (got < sizeof(*h))
		return MA_REFUSE_SHORT;
	if (h->order != MA_ORDER)
		return MA_REFUSE_ORDER;
	if (h->kind > 31 || !(kinds & (1u << h->kind)))
		return MA_REFUSE_KIND;
	return MA_OK;
}

static enum ma_refusal check_readable(const struct ma_header *h, bool writing)
{
	if (h->format != MA_FORMAT)
		return MA_REFUSE_FORMAT;
	if (h->incompat)
		return MA_REFUSE_FEATURE;
	if (h->rocompat && writing)
		return MA_REFUSE_FEATURE_RW;
	if (h->word_bytes != sizeof(void *))
		return MA_REFUSE_WORD;
	if (h->page_shift != (MA_KIND_FLOATS(h->kind) ? MA_PAGE_SHIFT : ma_page_shift()))
		return MA_REFUSE_PAGE;
	return h->crc == ma_header_crc(h) ? MA_OK : MA_REFUSE_CRC;
}

static enum ma_refusal check_lengths(const struct ma_header *h, uint64_t file_bytes)
{
	uint64_t length = ma_load(&h->length);

	if (h->base % MA_PAGE || (h->base == 0) != MA_KIND_FLOATS(h->kind) || h->base >= USER_TOP)
		return MA_REFUSE_BASE;
	if (h->reserved > USER_TOP - h->base)
		return MA_REFUSE_BASE;
	if (length < sizeof(*h) || length > h->reserved)
		return MA_REFUSE_LENGTH;
	return length > file_bytes ? MA_REFUSE_SHORT : MA_OK;
}

enum ma_refusal ma_header_check(const struct ma_header *h, size_t got, uint64_t file_bytes, unsigned kinds,
				bool writing)
{
	enum ma_refusal why = check_identity(h, got, kinds);

	if (why == MA_OK)
		why = check_readable(h, writing);
	if (why == MA_OK)
		why = check_lengths(h, file_bytes);
	return why;
}

void ma_header_uuid(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, GRND_NONBLOCK) != 16) {
		uint64_t near = ma_mix((uint64_t)getpid() ^ (uint64_t)(uintptr_t)uuid);

		memcpy(uuid, &near, sizeof(near));
	}
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

struct ma_place ma_place_of(int fd, const struct stat *st)
{
	return (struct ma_place){ st->st_dev, st->st_ino, ma_boot_mount(fd), ma_boot_filesystem(fd) };
}

void ma_header_put_place(struct ma_header *h, const struct ma_place *place)
{
	h->device = place->device;
	h->inode = place->inode;
	h->mount = place->mount;
	h->filesystem = place->filesystem;
}

/*
 * Numbers of devices hold as long as the mount does. Two devices of one run may have the same file system id, as snapshots of btrfs have; of
 * another run, a disk may have got another number.
 */
static bool is_same_file(const struct ma_header *h, const struct ma_place *place, bool same_run)
{
	if (h->inode != place->inode)
		return false;
	if (same_run || !h->filesystem || !place->filesystem)
		return h->device == place->device;
	return h->filesystem == place->filesystem;
}

struct ma_certainty ma_header_certainty(const struct ma_header *h, const struct ma_place *place)
{
	struct ma_certainty c = {
		.same_boot = ma_boot_is(h->boot_id),
		.same_mount = h->mount == place->mount,
		.synced = ma_load(&h->state) == MA_STATE_SYNCED,
	};

	c.same_file = is_same_file(h, place, ma_is_same_run(c));
	return c;
}

bool ma_header_was_cut(const struct ma_header *h, const struct ma_place *place)
{
	struct ma_certainty c = ma_header_certainty(h, place);

	return c.same_file && !ma_is_same_run(c) && !c.synced;
}
