/* SPDX-License-Identifier: BSD-3-Clause */
/* See copy.h. */
#include "tools/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/copy.h"
#include "common/target.h"

int copy_contents(int from, int to, uint64_t bytes, bool *is_reflink)
{
	*is_reflink = ioctl(to, FICLONE, from) == 0;
	if (*is_reflink)
		return 0;
	return ftruncate(to, (off_t)bytes) < 0 ? -1 : ma_copy_data(from, to, 0, bytes);
}

int copy_to_name(int from, const char *name)
{
	struct ma_target target;
	struct stat st;
	bool is_reflink;
	int result;

	if (fstat(from, &st) < 0)
		return -1;
	result = ma_target_find(&target, name);
	if (result == 0 && ma_target_is_there(&target))
		result = -1;
	if (result == 0)
		result = ma_target_open(&target, "mapalloc", st.st_mode & 0777);
	if (result == 0)
		result = copy_contents(from, target.fd, (uint64_t)st.st_size, &is_reflink);
	if (result == 0)
		result = ma_target_commit(&target, false);
	ma_target_close(&target);
	return result;
}
