/* SPDX-License-Identifier: BSD-3-Clause */
/* Bit by bit: it runs over some hundred bytes once an open, so a table would only cost cache. */
#include "common/crc32c.h"

uint32_t ma_crc32c(const void *data, size_t bytes)
{
	const unsigned char *p = data;
	uint32_t crc = 0xffffffffu;

	while (bytes--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0x82f63b78u & -(crc & 1));
	}
	return ~crc;
}
