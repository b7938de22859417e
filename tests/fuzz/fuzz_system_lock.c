/* SPDX-License-Identifier: BSD-3-Clause */
/* The locks of open file descriptions, as the model of system calls has them: see fuzz_system.c. */
#include <errno.h>
#include <stddef.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_system.h"

static struct lock *lock_at(struct description *d, off_t at)
{
	for (int i = 0; i < LOCKS; i++)
		if (d->lock[i].type != F_UNLCK && d->lock[i].at == at)
			return &d->lock[i];
	return NULL;
}

/* Of another description of the file. */
static struct lock *in_the_way(const struct description *d, const struct flock *lock)
{
	for (int i = 0; i < OPENS; i++) {
		struct description *other = &fuzz_description[i];
		struct lock *found;

		if (!other->uses || other->file != d->file || other == d)
			continue;
		found = lock_at(other, lock->l_start);
		if (found && (found->type == F_WRLCK || lock->l_type == F_WRLCK))
			return found;
	}
	return NULL;
}

int fuzz_ask_lock(struct description *d, struct flock *lock)
{
	struct lock *found = lock->l_len == 1 ? in_the_way(d, lock) : NULL;

	lock->l_type = found ? found->type : F_UNLCK;
	if (found)
		lock->l_pid = -1;
	return 0;
}

static void unlock_all(struct description *d)
{
	for (int i = 0; i < LOCKS; i++)
		d->lock[i].type = F_UNLCK;
}

int fuzz_set_lock(struct description *d, const struct flock *lock)
{
	struct lock *mine;

	if (lock->l_type == F_UNLCK && lock->l_len != 1) {
		unlock_all(d);
		return 0;
	}
	fuzz_require(lock->l_len == 1);
	if (lock->l_type != F_UNLCK && in_the_way(d, lock)) {
		errno = EAGAIN;
		return -1;
	}
	mine = lock_at(d, lock->l_start);
	for (int i = 0; i < LOCKS && !mine && lock->l_type != F_UNLCK; i++)
		if (d->lock[i].type == F_UNLCK)
			mine = &d->lock[i];
	fuzz_require(mine || lock->l_type == F_UNLCK);
	if (mine)
		*mine = (struct lock){ lock->l_type, lock->l_start };
	return 0;
}
