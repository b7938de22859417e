/* SPDX-License-Identifier: BSD-3-Clause */
/* What may be believed of a file, and in which order: whose is it, can we read it, is it whole, does it fit. */
#include "common/header.h"

#include <errno.h>
#include <string.h>

#include "common/crc32c.h"

#define USER_TOP ((uint64_t)1 << 47)

static const struct {
	int error;
	const char *text;
} refusals[] = {
	[MA_OK] = { 0, "sound" },
	[MA_REFUSE_READ] = { EIO, "cannot be read" },
	[MA_REFUSE_MAGIC] = { EMEDIUMTYPE, "is not a map: no magic number" },
	[MA_REFUSE_HALF] = { EMEDIUMTYPE, "is a map whose creation was never finished: create it again to finish it" },
	[MA_REFUSE_KIND] = { EPROTOTYPE, "is a map of another kind or another library's" },
	[MA_REFUSE_FORMAT] = { EPROTONOSUPPORT, "has a format version that this library does not read" },
	[MA_REFUSE_FEATURE] = { EOPNOTSUPP, "needs features that this library does not have" },
	[MA_REFUSE_FEATURE_RW] = { EOPNOTSUPP, "has features that this library can only read: open it read-only" },
	[MA_REFUSE_ORDER] = { ENOEXEC, "was made with another byte order" },
	[MA_REFUSE_WORD] = { ENOEXEC, "was made with another word size" },
	[MA_REFUSE_PAGE] = { ENOEXEC, "was made with another page size" },
	[MA_REFUSE_CRC] = { EBADMSG, "has a damaged header: wrong checksum" },
	[MA_REFUSE_BASE] = { EBADMSG, "has a base that no map can have" },
	[MA_REFUSE_LENGTH] = { EBADMSG, "has lengths that contradict each other" },
	[MA_REFUSE_SHORT] = { ENODATA, "is shorter than its header says: it was truncated" },
	[MA_REFUSE_BODY] = { EUCLEAN, "has a damaged body" },
};

const char *ma_refusal_text(enum ma_refusal why)
{
	return refusals[why].text;
}

int ma_refusal_errno(enum ma_refusal why)
{
	return refusals[why].error;
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
	if (memcmp(h->magic, MA_MAGIC_HALF, sizeof(h->magic)) == 0)
		return MA_REFUSE_HALF;
	if (memcmp(h->magic, MA_MAGIC, sizeof(h->magic)) != 0)
		return MA_REFUSE_MAGIC;
	if (got < sizeof(*h))
		return MA_REFUSE_SHORT;
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
	if (h->order != MA_ORDER)
		return MA_REFUSE_ORDER;
	if (h->word_bytes != sizeof(void *))
		return MA_REFUSE_WORD;
	if (h->page_shift != MA_PAGE_SHIFT)
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
