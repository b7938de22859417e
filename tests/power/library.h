/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of one library under one set of names: POWER_MMALLOC libmmalloc's, else libqalloc's. */
#ifndef TESTS_POWER_LIBRARY_H
#define TESTS_POWER_LIBRARY_H

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#ifdef POWER_MMALLOC
#include <mmalloc.h>
#define LIB_NAME              "mmalloc"
#define lib_malloc(map, size) mmalloc(map, size)
#define lib_free(map, block)  mfree(map, block)
#define lib_setroot           mmalloc_setroot
#define lib_getroot           mmalloc_getroot
#define lib_durable           mmalloc_durable
#define lib_sync              mmalloc_sync
#define lib_capture           mmalloc_capture
#define lib_commit            mmalloc_commit
#define lib_restore           mmalloc_restore
#define lib_check(map)        mmalloc_check(map, NULL, NULL)
#define lib_errmsg            mmalloc_errmsg

static inline void *lib_load(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *map = mmalloc_attach(fd, NULL);

	close(fd);
	return map;
}

static inline void *lib_make(const char *path, size_t bytes)
{
	const struct mmalloc_options options = { .reserve = bytes, .streams = 2 };
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	void *map = mmalloc_attach_opt(fd, NULL, &options);

	close(fd);
	return map;
}

static inline void lib_close(void *map)
{
	if (map)
		mmalloc_detach(map);
}

static inline bool lib_was_restored(void *map)
{
	struct mmalloc_opening opening;

	return mmalloc_opening(map, &opening) == 0 && opening.restored;
}
#else
#include <qalloc.h>
#define LIB_NAME              "qalloc"
#define lib_malloc(map, size) qalloc_malloc(map, size)
#define lib_free(map, block)  qalloc_free(block, map)
#define lib_setroot           qalloc_setroot
#define lib_getroot           qalloc_getroot
#define lib_durable           qalloc_durable
#define lib_sync              qalloc_sync
#define lib_capture           qalloc_capture
#define lib_commit            qalloc_commit
#define lib_restore           qalloc_restore
#define lib_load(path)        qalloc_loadmap(path)
#define lib_check(map)        qalloc_check(map, NULL, NULL)
#define lib_errmsg            qalloc_errmsg

static inline void *lib_make(const char *path, size_t bytes)
{
	return qalloc_makedynmap((off_t)bytes, NULL, path, 2);
}

static inline void lib_close(void *map)
{
	if (map)
		qalloc_close(map);
}

static inline bool lib_was_restored(void *map)
{
	struct qalloc_opening opening;

	return qalloc_opening(map, &opening) == 0 && opening.restored;
}
#endif

#endif /* TESTS_POWER_LIBRARY_H */
