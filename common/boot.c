/* SPDX-License-Identifier: BSD-3-Clause */
/* See boot.h. The kernel gives 32 digits in five groups with hyphens between them. */
#include "common/boot.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000u
#endif

#define TEXT 36

static unsigned digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(tolower((unsigned char)c) - 'a') + 10;
}

static bool parse(const char *text, uint8_t id[MA_BOOT_ID])
{
	unsigned digits = 0;

	for (const char *at = text; *at; at++) {
		if (*at == '-')
			continue;
		if (!isxdigit((unsigned char)*at) || digits == 2 * MA_BOOT_ID)
			return false;
		id[digits / 2] = (uint8_t)((unsigned)id[digits / 2] << 4 | digit(*at));
		digits++;
	}
	return digits == 2 * MA_BOOT_ID;
}

void ma_boot_id(uint8_t id[MA_BOOT_ID])
{
	char text[TEXT + 1] = "";
	int saved = errno;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(id, 0, MA_BOOT_ID);
	if (fd >= 0) {
		if (read(fd, text, TEXT) != TEXT || !parse(text, id))
			memset(id, 0, MA_BOOT_ID);
		close(fd);
	}
	errno = saved;
}

bool ma_boot_is(const uint8_t id[MA_BOOT_ID])
{
	static const uint8_t none[MA_BOOT_ID];
	uint8_t now[MA_BOOT_ID];

	ma_boot_id(now);
	return memcmp(now, none, sizeof(none)) != 0 && memcmp(now, id, sizeof(now)) == 0;
}

static bool ask_mount(int fd, unsigned what, uint64_t *id)
{
	struct statx found;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, what, &found) < 0 || !(found.stx_mask & what))
		return false;
	*id = found.stx_mnt_id;
	return true;
}

/* A kernel that does not know what is asked for answers without it. */
uint64_t ma_boot_mount(int fd)
{
	uint64_t id = 0;
	int saved = errno;

	if (!ask_mount(fd, STATX_MNT_ID_UNIQUE, &id))
		ask_mount(fd, STATX_MNT_ID, &id);
	errno = saved;
	return id;
}

/* FS_IOC_GETFSUUID, since Linux 6.9. */
struct fs_uuid {
	uint8_t length;
	uint8_t id[16];
};

#define GET_FS_UUID _IOR(0x15, 0, struct fs_uuid)

_Static_assert(sizeof(struct fs_uuid) == 17, "as the kernel has it");

/* statfs(2)'s number is st_dev on some file systems (xfs), but those have an id. */
static bool ask_filesystem(int fd, uint64_t id[2])
{
	struct fs_uuid uuid = { .length = 0 };
	struct statfs found;

	if (ioctl(fd, GET_FS_UUID, &uuid) == 0)
		memcpy(id, uuid.id, sizeof(uuid.id));
	if (!id[0] && !id[1] && fstatfs(fd, &found) == 0)
		memcpy(id, &found.f_fsid, sizeof(found.f_fsid));
	return id[0] || id[1];
}

uint64_t ma_boot_filesystem(int fd)
{
	uint64_t id[2] = { 0 };
	int saved = errno;
	bool known = ask_filesystem(fd, id);

	errno = saved;
	return known ? ma_mix(ma_mix(id[0]) ^ id[1]) : 0;
}
