# SPDX-License-Identifier: BSD-3-Clause
"""Figures, walks, checks, tags, snapshots, checkpoints; what an opening found."""

import errno
import mmap
import os
import shutil
import unittest

import mapalloc
from mapalloc import mmalloc, qalloc, shmbuddy
from support import Case, Mmalloc, Qalloc, Shmbuddy, for_each

GOLDEN = os.environ.get("MA_TEST_GOLDEN")


class Inspect:
    def test_stats(self):
        with self.create() as m:
            before = m.stats()
            blocks = [m.malloc(200) for _ in range(10)]
            after = m.stats()
            self.assertEqual(after.used_blocks - before.used_blocks, 10)
            self.assertEqual(after.used_bytes - before.used_bytes, sum(b.size for b in blocks))
            if self.module is shmbuddy:
                sizes = (after.capacity, after.smallest, after.largest)
                self.assertEqual(sizes, (1 << 20, 32, 1024))
                self.assertEqual(blocks[0].offset, blocks[0].word)
            else:
                self.assertEqual(blocks[0].address - blocks[0].offset, after.base)
                self.assertEqual((after.processes, after.streams), (1, 1))
                self.assertEqual(after.file_bytes, os.stat(self.path).st_size)
            self.assertEqual(after.disk_bytes, os.stat(self.path).st_blocks * 512)
            self.assertGreater(after.largest_free, 0)

    def test_walk(self):
        with self.create() as m:
            blocks = [m.malloc(100) for _ in range(5)]
            seen = []
            self.assertIsNone(m.walk(lambda block, size: seen.append((block, size))))
            self.assertEqual({b for b, _ in seen}, set(blocks))
            self.assertEqual([s for _, s in seen], [b.size for b, _ in seen])
            self.assertEqual(m.blocks(), [b for b, _ in seen])
            self.assertEqual(m.blocks(), sorted(blocks, key=lambda b: b.word))
            self.assertEqual(m.walk(lambda block, size: block == blocks[2] and "it"), "it")
            m.walk(lambda block, size: block.free())
            self.assertEqual(m.blocks(), [])
            self.assertEqual(m.check(), [])

    def test_exceptions_end_a_walk(self):
        with self.create() as m:
            blocks = [m.malloc(100) for _ in range(5)]
            for kind in (LookupError, KeyboardInterrupt, SystemExit):
                seen = []

                def fail(block, size):
                    seen.append(block)
                    if len(seen) == 2:
                        raise kind("mine")

                with self.assertRaisesRegex(kind, "mine"):
                    m.walk(fail)
                self.assertEqual(len(seen), 2)
            with self.assertRaises(mapalloc.Error) as caught:
                m.walk(lambda block, size: m.close())
            self.assertEqual(caught.exception.errno, errno.EBUSY)
            self.assertEqual(len(m.blocks()), len(blocks))

    def test_tag(self):
        with self.create() as m:
            self.assertEqual(m.tag, 0)
            m.tag = 42
            m.tag = 42
            self.assertEqual(m.tag, 42)
            self.fails(errno.EEXIST, setattr, m, "tag", 43)
            self.fails(errno.EINVAL, setattr, m, "tag", 0)
            for wrong in (-1, 1 << 64):
                with self.assertRaises(ValueError):
                    m.tag = wrong
        with self.module.open(self.path, readonly=True) as m:
            self.assertEqual(m.tag, 42)
            self.fails(errno.EROFS, setattr, m, "tag", 42)

    def test_opening(self):
        with self.create() as m:
            found = m.opening()
            self.assertIsInstance(found, mapalloc.Opening)
            self.assertEqual((found.generation, found.created, found.first), (1, True, True))
            code = f"with {self.opens} as m: print(*m.opening())"
            self.assertEqual(self.run_child(code), "1 False False False False 0 False False False")
        with self.module.open(self.path) as m:
            expected = (2, False, True, False, False, 1, False, False, False)
            self.assertEqual(tuple(m.opening()), expected)
        child = self.start(f"m = {self.opens}; m.malloc(10); os.kill(os.getpid(), 9)")
        self.assertEqual(child.wait(), -9)
        with self.module.open(self.path) as m:
            expected = (4, False, True, False, False, 0, True, False, False)
            self.assertEqual(tuple(m.opening()), expected)
        shutil.copy(self.path, self.file("copy"))
        with self.module.open(self.file("copy")) as m:
            self.assertTrue(m.opening().copied)
            self.assertTrue(m.opening().verified)

    def test_snapshot(self):
        with self.create() as m:
            m.roots["a"] = m.malloc(100)
            m.roots["a"].write(b"then")
            m.snapshot(self.file("copy"))
            m.roots["a"].write(b"now!")
            self.fails(errno.EINVAL, m.snapshot, self.path)
            self.fails(errno.ENOENT, m.snapshot, self.file("no/such"))
            with self.assertRaisesRegex(ValueError, "null"):
                m.snapshot("a\0b")
        with self.module.open(self.file("copy")) as m:
            self.assertEqual(m.roots["a"].read(4), b"then")

    def test_checkpoints(self):
        with self.create() as m:
            m.roots["a"] = m.calloc(1, 100)
            m.sync()
            self.fails(errno.EINVAL, m.capture)
            m.durable()
            self.assertTrue(os.path.exists(self.path + ".checkpoint"))
            m.roots["a"].write(b"one")
            m.sync()
            m.roots["a"].write(b"two")
            m.capture()
            self.fails(errno.EBUSY, m.capture)
            m.roots["a"].write(b"3rd")
            m.commit()
            self.fails(errno.EINVAL, m.commit)
            self.fails(errno.EBUSY, self.module.restore, self.path)
        self.module.restore(self.path)
        with self.module.open(self.path) as m:
            self.assertEqual(m.roots["a"].read(3), b"two")
            self.assertEqual(m.check(), [])
        self.fails(errno.ENOENT, self.module.restore, self.file("none"))

    def test_salvage_of_a_consistent_map(self):
        with self.create() as m:
            m.roots["a"] = m.malloc(100)
            self.fails(errno.EBUSY, self.module.salvage, self.path)
        m, sentences = self.module.salvage(self.path)
        with m:
            self.assertEqual(sentences, [])
            self.assertEqual(m.roots["a"].size, m.blocks()[0].size)
        self.fails(errno.ENOENT, self.module.salvage, self.file("none"))


for_each(globals(), Inspect, Qalloc, Mmalloc, Shmbuddy)


class Damaged:
    def test_check_reports_damage(self):
        """A root of a map that is in use leads far behind its end."""
        with self.create() as m:
            m.roots["arootname"] = m.malloc(100)
            self.assertEqual(m.check(), [])
            with open(self.path, "r+b") as file:
                place = file.read().index(b"arootname") - 8  # Its offset lies before its name.
                file.seek(place)
                offset = file.read(8)
                for wrong, count in ((bytes(6) + b"\1\0", 1), (offset, 0)):
                    os.pwrite(file.fileno(), wrong, place)
                    sentences = m.check()
                    self.assertEqual(len(sentences), count, sentences)
                    for sentence in sentences:
                        self.assertRegex(sentence, "^[^\\n]{10,}$")


for_each(globals(), Damaged, Qalloc, Mmalloc)


@unittest.skipUnless(GOLDEN, "not in the source tree")
class Golden(Case):
    """Damaged files of tests/golden."""

    def copy(self, name):
        shutil.copy(os.path.join(GOLDEN, name), self.path)
        return self.path

    def test_salvage(self):
        for module, name in (
            (qalloc, "bad-truth.map"), (mmalloc, "bad-mmalloc-truth.map"),
            (shmbuddy, "bad-shmbuddy-tree.map"),
        ):  # fmt: skip
            self.fails(errno.EUCLEAN, module.open, self.copy(name))
            m, sentences = module.salvage(self.path)
            with m:
                self.assertEqual(len(sentences), 1, name)
                self.assertIn("offset", sentences[0])
                self.assertEqual(m.check(), [])

    def test_damaged_headers(self):
        self.fails(errno.EBADMSG, qalloc.open, self.copy("bad-crc.map"))
        self.fails(errno.EBADMSG, shmbuddy.open, self.copy("bad-shmbuddy-crc.map"))
        self.fails(errno.ENODATA, mmalloc.open, self.copy("bad-mmalloc-short.map"))

    def test_check_of_a_region(self):
        """A region in memory is joined as it is, so check() finds what open() would refuse."""
        with open(self.copy("bad-shmbuddy-tree.map"), "rb") as file:
            text = file.read()
        memory = mmap.mmap(-1, 1 << 20)
        memory[: len(text)] = text
        with shmbuddy.join(memory) as m:
            self.assertEqual(len(m.check()), 1)
        memory.close()

    def test_of_another_library(self):
        with qalloc.create(self.path, 1 << 20):
            pass
        self.fails(errno.EPROTOTYPE, mmalloc.open, self.path)
        self.fails(errno.EPROTOTYPE, shmbuddy.open, self.path)
