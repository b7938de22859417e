/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No call is a cancellation point. The functions that make system calls which are (open, close, pread, fallocate, msync and
 * so on) begin with MA_UNCANCELLED: deferred cancellation waits until the function returns. Fast paths make no such call.
 */
#ifndef MA_CANCEL_H
#define MA_CANCEL_H

#include <pthread.h>

static inline int ma_cancel_off(void)
{
	int was = PTHREAD_CANCEL_ENABLE;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	return was;
}

static inline void ma_cancel_back(const int *was)
{
	pthread_setcancelstate(*was, NULL);
}

/* A declaration: from here to the end of the block. Calls may nest. */
#define MA_UNCANCELLED const int ma_cancel_was __attribute__((cleanup(ma_cancel_back), unused)) = ma_cancel_off()

#endif /* MA_CANCEL_H */
