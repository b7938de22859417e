/* SPDX-License-Identifier: BSD-3-Clause */
/* The pure parts of the heap: size classes, reciprocals, the look at 64 allocation bytes, CRC-32C. All exhaustive. */
#include "common/crc32c.h"
#include "common/heap.h"
#include "tests/support/support.h"

static void class_fits_and_is_tight(void)
{
	for (uint64_t size = 0; size <= MA_SLAB_MAX; size++) {
		uint32_t class = ma_class_of(size);
		uint64_t room = ma_class_bytes(class);

		g_assert_cmpuint(class, <, MA_CLASSES);
		g_assert_cmpuint(room, >=, size);
		if (class > 0)
			g_assert_cmpuint(ma_class_bytes(class - 1), <, size);
	}
	g_assert_cmpuint(ma_class_of(MA_SLAB_MAX), ==, MA_CLASSES - 1);
}

static void class_wastes_an_eighth_at_most(void)
{
	for (uint64_t size = 129; size <= MA_SLAB_MAX; size++) {
		uint64_t waste = ma_class_bytes(ma_class_of(size)) - size;

		g_assert_cmpuint(waste * 8, <=, ma_class_bytes(ma_class_of(size)));
	}
	for (uint32_t class = 0; class < MA_CLASSES; class ++)
		g_assert_cmpuint(ma_class_bytes(class) % 16, ==, 0);
}

/* What ma_heap_free_fast() computes, for each class and each offset in a chunk. */
static void reciprocal_finds_slots_exactly(void)
{
	for (uint32_t class = 0; class < MA_CLASSES; class ++) {
		uint64_t size = ma_class_bytes(class);
		uint32_t recip = (uint32_t)((((uint64_t)1 << 32) + size - 1) / size);

		for (uint64_t offset = 0; offset < MA_CHUNK; offset++) {
			uint64_t product = offset * recip;
			bool exact = (uint32_t)product < recip;

			g_assert_true(exact == (offset % size == 0));
			if (exact)
				g_assert_cmpuint(product >> 32, ==, offset / size);
		}
	}
}

static void scan_sees_each_byte(void)
{
	_Alignas(64) _Atomic uint8_t alloc_bytes[64];

	for (unsigned i = 0; i < 64; i++)
		ma_store(&alloc_bytes[i], 1);
	g_assert_cmphex(ma_scan64(alloc_bytes), ==, 0);
	for (unsigned i = 0; i < 64; i++) {
		ma_store(&alloc_bytes[i], 0);
		g_assert_cmphex(ma_scan64(alloc_bytes), ==, (uint64_t)1 << i);
		ma_store(&alloc_bytes[i], (uint8_t)(i + 2)); /* Anything but zero is not free. */
		g_assert_cmphex(ma_scan64(alloc_bytes), ==, 0);
	}
}

/* For each stride and place that a small slab can have, and some more. */
static void multiples_are_multiples(void)
{
	for (uint32_t stride = 1; stride <= 300; stride++)
		for (uint32_t from = 0; from <= 640; from++) {
			uint64_t bits = ma_multiples(stride, from);

			for (uint32_t i = 0; i < 64; i++)
				g_assert_cmpuint(bits >> i & 1, ==, (from + i) % stride == 0);
		}
}

/* The same question of all 64 at once, from any address. */
static void scan_sees_any_byte(void)
{
	_Atomic uint8_t bytes[128];

	for (unsigned from = 0; from < 64; from += 21) {
		for (unsigned i = 0; i < sizeof(bytes); i++) /* Zero in front and behind: these are not asked of. */
			ma_store(&bytes[i], i >= from && i < from + 64 ? (uint8_t)(1 + i * 2) : 0);
		g_assert_false(ma_scan64_any(bytes + from));
		for (unsigned i = 0; i < 64; i++) {
			ma_store(&bytes[from + i], 0);
			g_assert_true(ma_scan64_any(bytes + from));
			ma_store(&bytes[from + i], 0x80);
			g_assert_false(ma_scan64_any(bytes + from));
		}
	}
}

static void low_bits(void)
{
	g_assert_cmphex(ma_low_bits(0), ==, 0);
	g_assert_cmphex(ma_low_bits(1), ==, 1);
	g_assert_cmphex(ma_low_bits(63), ==, UINT64_MAX >> 1);
	g_assert_cmphex(ma_low_bits(64), ==, UINT64_MAX);
	g_assert_cmphex(ma_low_bits(1000), ==, UINT64_MAX);
}

static void crc_is_castagnoli(void)
{
	g_assert_cmphex(ma_crc32c("123456789", 9), ==, 0xe3069283u);
	g_assert_cmphex(ma_crc32c("", 0), ==, 0);
}

int main(int argc, char **argv)
{
	support_init(&argc, &argv);
	support_add("/sizes/class-fits-and-is-tight", class_fits_and_is_tight);
	support_add("/sizes/class-wastes-an-eighth-at-most", class_wastes_an_eighth_at_most);
	support_add("/sizes/reciprocal-finds-slots-exactly", reciprocal_finds_slots_exactly);
	support_add("/sizes/multiples", multiples_are_multiples);
	support_add("/sizes/scan-sees-each-byte", scan_sees_each_byte);
	support_add("/sizes/scan-sees-any-byte", scan_sees_any_byte);
	support_add("/sizes/low-bits", low_bits);
	support_add("/sizes/crc-is-castagnoli", crc_is_castagnoli);
	return support_run();
}
