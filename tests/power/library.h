/* SPDX-License-Identifier: BSD-3-Clause */
/* The calls of one library under one set of names: POWER_MMALLOC libmmalloc's, POWER_SHMBUDDY libshmbuddy's, else libqalloc's. */
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

/* Only to read, or a private view. */
static inline void *lib_view(const char *path, bool is_private)
{
	const struct mmalloc_options options = { .flags = is_private ? MMALLOC_PRIVATE : MMALLOC_RDONLY };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *map = mmalloc_attach_opt(fd, NULL, &options);

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
#elif defined(POWER_SHMBUDDY)
#include <shmbuddy.h>
#define LIB_NAME       "shmbuddy"
#define lib_restore    shmbuddy_restore
#define lib_check(map) shmbuddy_check(map, NULL, NULL)
#define lib_errmsg     shmbuddy_errmsg

/* Each region is mapped there, where nothing else is: so addresses in it stay what they are. */
static void *const lib_base = (void *)(32ul << 40);

static inline void *lib_load(const char *path)
{
	const struct shmbuddy_options options = { .flags = SHMBUDDY_EXISTING, .address = lib_base };

	return shmbuddy_open(path, &options);
}

/* Only to read. There are no private views. */
static inline void *lib_view(const char *path, bool is_private)
{
	const struct shmbuddy_options options = { .flags = SHMBUDDY_RDONLY, .address = lib_base };

	(void)is_private;
	return shmbuddy_open(path, &options);
}

static inline void *lib_make(const char *path, size_t bytes)
{
	const struct shmbuddy_options options = {
		.flags = SHMBUDDY_NEW, .capacity = bytes, .largest = 128 << 10, .address = lib_base
	};

	return shmbuddy_open(path, &options);
}

static inline int lib_durable(void *map)
{
	return shmbuddy_durable(map);
}

static inline int lib_sync(void *map)
{
	return shmbuddy_sync(map);
}

static inline int lib_capture(void *map)
{
	return shmbuddy_capture(map);
}

static inline int lib_commit(void *map)
{
	return shmbuddy_commit(map);
}

static inline void *lib_address(void *map, shm_offt offset)
{
	return offset == SHM_NULL ? NULL : (char *)shmbuddy_base(map) + offset;
}

static inline shm_offt lib_offset(void *map, const void *block)
{
	return block ? (shm_offt)((const char *)block - (char *)shmbuddy_base(map)) : SHM_NULL;
}

static inline void *lib_malloc(void *map, size_t size)
{
	return lib_address(map, shmbuddy_malloc(map, size));
}

static inline void lib_free(void *map, void *block)
{
	shmbuddy_free(map, lib_offset(map, block));
}

static inline int lib_setroot(void *map, const char *name, const void *block)
{
	return shmbuddy_setroot(map, name, lib_offset(map, block));
}

static inline void *lib_getroot(void *map, const char *name)
{
	return lib_address(map, shmbuddy_getroot(map, name));
}

static inline void lib_close(void *map)
{
	if (map)
		shmbuddy_close(map);
}

static inline bool lib_was_restored(void *map)
{
	struct shmbuddy_opening opening;

	return shmbuddy_opening(map, &opening) == 0 && opening.restored;
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

/* Only to read, or a private view. */
static inline void *lib_view(const char *path, bool is_private)
{
	return qalloc_open(path, is_private ? QALLOC_PRIVATE : QALLOC_RDONLY);
}

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
