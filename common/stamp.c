/* SPDX-License-Identifier: BSD-3-Clause */
/* The time in UTC as ISO 8601 has it. Computed here: gmtime_r() and snprintf() are not for signal handlers. */
#include "common/stamp.h"

uint64_t ma_now_ns(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static char *digits(char *at, uint64_t n, int count)
{
	for (int i = count; i-- > 0; n /= 10)
		at[i] = (char)('0' + n % 10);
	return at + count;
}

/* Days since 1970 as a date: years that begin in March end with the leap day. */
static char *date(char *at, uint64_t days)
{
	uint64_t z = days + 719468, era = z / 146097, of_era = z % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100), march = (5 * of_year + 2) / 153;
	uint64_t month = march < 10 ? march + 3 : march - 9;

	at = digits(at, year + era * 400 + (month <= 2), 4);
	*at++ = '-';
	at = digits(at, month, 2);
	*at++ = '-';
	return digits(at, of_year - (153 * march + 2) / 5 + 1, 2);
}

size_t ma_stamp(char to[MA_STAMP])
{
	struct timespec now = { 0 };
	char *at = to;
	uint64_t s;

	clock_gettime(CLOCK_REALTIME, &now);
	s = now.tv_sec < 0 ? 0 : (uint64_t)now.tv_sec;
	at = date(at, s / 86400);
	*at++ = 'T';
	at = digits(at, s / 3600 % 24, 2);
	*at++ = ':';
	at = digits(at, s / 60 % 60, 2);
	*at++ = ':';
	at = digits(at, s % 60, 2);
	*at++ = '.';
	at = digits(at, (uint64_t)now.tv_nsec / 1000000, 3);
	*at++ = 'Z';
	*at = '\0';
	return (size_t)(at - to);
}
