# SPDX-License-Identifier: BSD-3-Clause
"""Blocks: allocate, resize, free, and their bytes."""

import errno

import mapalloc
from mapalloc import mmalloc, qalloc
from support import Case, Mmalloc, Qalloc, Shmbuddy, for_each


class Blocks:
    def test_place_and_size(self):
        with self.create() as m:
            block, other = m.malloc(100), m.malloc(100)
            self.assertGreaterEqual(block.size, 100)
            self.assertNotEqual(block.word, other.word)
            self.assertGreaterEqual(abs(block.address - other.address), 100)
            self.assertEqual(block.address - other.address, block.offset - other.offset)
            self.assertIs(block.map, m)
            again = m.block(block.word)
            self.assertEqual(again, block)
            self.assertEqual(hash(again), hash(block))
            self.assertNotEqual(block, other)
            self.assertNotEqual(block, block.word)
            self.assertIn(f"{block.word:#x}", repr(block))

    def test_bytes(self):
        with self.create() as m:
            block = m.malloc(64)
            block.write(bytes(range(64)))
            self.assertEqual(block.read(64), bytes(range(64)))
            self.assertEqual(block.read(3, 7), b"\7\10\11")
            block.write(b"xyz", 7)
            self.assertEqual(block.read(5, 6), b"\6xyz\12")
            block.write(memoryview(b"abcdefgh").cast("Q"))
            self.assertEqual(block.read(8), b"abcdefgh")
            self.assertEqual(len(block.read()), block.size)
            for wrong in ((block.size, 1), (block.size + 1, None), (1 << 63, 1 << 63)):
                with self.assertRaises(ValueError):
                    block.view(*wrong)
            with self.assertRaises(ValueError):
                block.read(-1)
            with self.assertRaises(ValueError):
                block.write(b"12", block.size - 1)
            self.assertEqual(block.read(0, block.size), b"")
            self.assertEqual(m.check(), [])

    def test_zeroed(self):
        with self.create() as m:
            for _ in range(3):
                block = m.calloc(10, 20)
                self.assertEqual(block.read(200), bytes(200))
                block.write(b"\xff" * 200)
                block.free()

    def test_resize_keeps_the_contents(self):
        with self.create() as m:
            block = m.malloc(40)
            block.write(b"a" * 40)
            new = block.resize(200)
            self.assertGreaterEqual(new.size, 200)
            self.assertEqual(new.read(40), b"a" * 40)
            with self.assertRaisesRegex(ValueError, "freed"):
                block.read()
            self.fails(errno.EINVAL, m.malloc(8).resize, 1 << 50) if self.is_static(m) else (
                self.fails(errno.ENOMEM, m.malloc(8).resize, 1 << 50, kind=MemoryError)
            )
            self.assertEqual(new.read(40), b"a" * 40)

    @staticmethod
    def is_static(m):
        return getattr(m.stats(), "is_static", False)

    def test_free(self):
        with self.create() as m:
            before = m.stats().used_blocks
            block = m.malloc(10)
            self.assertEqual(m.stats().used_blocks, before + 1)
            twin = m.block(block.word)
            block.free()
            self.assertEqual(m.stats().used_blocks, before)
            for use in (block.free, block.read, block.view, lambda: block.address):
                with self.assertRaisesRegex(ValueError, "freed"):
                    use()
            with self.assertRaises(ValueError):
                block.resize(10)
            self.assertIn("freed", repr(block))
            self.fails(errno.EINVAL, twin.free)
            self.fails(errno.EINVAL, twin.view)
            self.fails(errno.EINVAL, twin.resize, 20)
            self.fails(errno.EINVAL, m.block, block.word)

    def test_inside_a_block_begins_none(self):
        with self.create() as m:
            self.fails(errno.EINVAL, m.block, m.malloc(64).word + 16)

    def test_sizes_that_are_none(self):
        with self.create() as m:
            for size in (0, -1, 1 << 64):
                for call in (m.malloc, m.calloc, lambda n: m.calloc(1, n), m.malloc(8).resize):
                    with self.assertRaises(ValueError):
                        call(size)
            for call in (m.malloc, m.calloc):
                with self.assertRaises(TypeError):
                    call(1.5)
            with self.assertRaises(ValueError):
                m.block(0)
            self.fails(errno.ENOMEM, m.calloc, 1 << 40, 1 << 40, kind=mapalloc.MapFullError)

    def test_full(self):
        with self.create() as m:
            blocks = []
            if isinstance(m, mmalloc.Heap):
                self.fails(errno.ENOMEM, m.malloc, 1 << 31, kind=mapalloc.MapFullError)
                return
            with self.assertRaises(MemoryError) as caught:
                while True:
                    blocks.append(m.malloc(256))
            self.assertIsInstance(caught.exception, mapalloc.Error)
            self.assertEqual(caught.exception.errno, errno.ENOMEM)
            self.assertGreater(len(blocks), 100)
            blocks.pop().free()
            m.malloc(256)


for_each(globals(), Blocks)


class Aligned:
    def test_memalign(self):
        with self.create() as m:
            for alignment in (64, 4096):
                self.assertEqual(m.memalign(alignment, 100).address % alignment, 0)
            self.fails(errno.EINVAL, m.memalign, 48, 100)
            with self.assertRaises(ValueError):
                m.memalign(64, 0)


for_each(globals(), Aligned, Qalloc, Mmalloc)


class Space:
    def test_trim(self):
        with self.create() as m:
            m.malloc(300000).free()
            self.assertGreater(m.trim(), 0)
            self.assertEqual(m.trim(), 0)
            self.assertEqual(m.check(), [])


for_each(globals(), Space, Qalloc, Mmalloc)


class Growth:
    def test_grow(self):
        with self.create() as m:
            big = m.stats().largest_free
            sizes = m.stats()
            total = "file_bytes" if isinstance(m, qalloc.Map) else "capacity"
            m.grow(4 << 20)
            self.assertEqual(getattr(m.stats(), total), 4 << 20)
            self.assertGreaterEqual(m.stats().largest_free, big)
            self.assertGreater(getattr(m.stats(), total), getattr(sizes, total))
            self.fails(errno.ENOMEM, m.grow, 1 << 46)
            with self.assertRaises(ValueError):
                m.grow(-1)
            self.assertEqual(m.check(), [])


for_each(globals(), Growth, Qalloc, Shmbuddy)


class Items(Case):
    def test_a_static_map_has_items(self):
        with qalloc.create(self.path, 1 << 20, item=100) as m:
            stats = m.stats()
            self.assertIs(stats.is_static, True)
            self.assertEqual(stats.item_bytes, 104)
            self.assertEqual(m.malloc(1).size, 104)
            self.fails(errno.EINVAL, m.malloc, 105)
            self.assertEqual(m.trim(), 0)
