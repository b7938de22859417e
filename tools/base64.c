/* SPDX-License-Identifier: BSD-3-Clause */
/* See base64.h. */
#include "tools/base64.h"

#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_write(FILE *to, const volatile unsigned char *bytes, uint64_t count)
{
	for (uint64_t i = 0; i < count; i += 3) {
		unsigned second = i + 1 < count ? bytes[i + 1] : 0, third = i + 2 < count ? bytes[i + 2] : 0;
		unsigned word = (unsigned)bytes[i] << 16 | second << 8 | third;

		fputc(digits[word >> 18], to);
		fputc(digits[word >> 12 & 63], to);
		fputc(i + 1 < count ? digits[word >> 6 & 63] : '=', to);
		fputc(i + 2 < count ? digits[word & 63] : '=', to);
	}
}

static int value_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

size_t base64_decode(char *text, size_t length)
{
	size_t done = 0, padding = 0;

	if (length % 4)
		return SIZE_MAX;
	while (padding < 2 && length > padding && text[length - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < length; i += 4) {
		unsigned word = 0;

		for (size_t k = i; k < i + 4; k++) {
			int value = k >= length - padding ? 0 : value_of(text[k]);

			if (value < 0)
				return SIZE_MAX;
			word = word << 6 | (unsigned)value;
		}
		text[done++] = (char)(word >> 16);
		text[done++] = (char)(word >> 8);
		text[done++] = (char)word;
	}
	return done - padding;
}
