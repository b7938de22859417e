# SPDX-License-Identifier: BSD-3-Clause
"""Opening and creating: options, modes, errors; processes and forks."""

import errno
import mmap
import os
import pathlib
import subprocess
import sys
import threading

import mapalloc
from mapalloc import mmalloc, qalloc, shmbuddy
from support import Case, Mmalloc, Qalloc, for_each


class Opening:
    def test_names(self):
        for name in (self.path, os.fsencode(self.path), pathlib.Path(self.path)):
            with self.create(name) as m:
                self.assertEqual(m.name, name)
            with self.module.open(name) as m:
                self.assertIn(os.path.basename(self.path), repr(m))
        for call in (self.create, self.module.open, self.module.restore, self.module.salvage):
            with self.assertRaisesRegex(ValueError, "null"):
                call("a\0b")
        with self.assertRaises(TypeError):
            self.module.open(None)

    def test_files_that_are_no_maps(self):
        error = self.fails(errno.ENOENT, self.module.open, self.path)
        self.assertIn(self.path, str(error))
        self.assertIsInstance(error, OSError)
        self.assertFalse(os.path.exists(self.path))
        self.fails(errno.EISDIR, self.module.open, self.folder)
        with open(self.path, "w") as file:
            file.write("text\n" * 10000)
        self.fails(errno.EMEDIUMTYPE, self.module.open, self.path)
        self.fails(errno.EMEDIUMTYPE, self.create)
        self.fails(errno.ENOENT, self.create, self.file("no/such"))
        with open(self.path) as file:
            self.assertEqual(file.read(5), "text\n")

    def test_create_opens_what_is_there(self):
        with self.create() as m:
            m.roots["a"] = m.malloc(10)
        with self.create() as m:
            self.assertIn("a", m.roots)
            self.assertFalse(m.opening().created)
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_exclusive(self):
        self.create().close()
        with self.module.open(self.path, exclusive=True):
            code = f"""
try:
    {self.opens}
except mapalloc.Error as error:
    print(error.errno)
"""
            self.assertEqual(self.run_child(code), str(errno.EBUSY))
        with self.module.open(self.path):
            exclusive = self.opens.replace(")", ", exclusive=True)")
            self.assertEqual(
                self.run_child(code.replace(self.opens, exclusive)), str(errno.EBUSY)
            )

    def test_numbers_that_no_argument_holds(self):
        for keyword in {
            qalloc: ["base", "streams", "range", "processes", "item"],
            mmalloc: ["base", "streams", "reserve", "processes"],
            shmbuddy: ["smallest", "largest", "range", "address", "mode"],
        }[self.module]:
            for value in (-1, 1 << 64):
                with self.assertRaisesRegex(ValueError, "must be at least 0"):
                    arguments = [] if self.module is mmalloc else [1 << 20]
                    self.module.create(self.path, *arguments, **{keyword: value})
        self.assertFalse(os.path.exists(self.path) and os.stat(self.path).st_size)

    def test_fork(self):
        """A child uses its parent's map, while threads of the parent are inside calls."""
        with self.create() as m:
            block = m.calloc(1, 100)
            m.roots["a"] = block
            stop = threading.Event()

            def work():
                while not stop.is_set():
                    m.malloc(50).free()

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            try:
                for i in range(20):
                    pid = os.fork()
                    if not pid:
                        status = 1
                        try:
                            m.roots["a"].write(bytes([i + 1]), i)
                            m.malloc(10).free()
                            m.close()
                            status = 0
                        finally:
                            os._exit(status)
                    self.assertEqual(os.waitpid(pid, 0)[1], 0)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            self.warnings.clear()  # Python 3.12 warns of fork() in a program with threads.
            self.assertEqual(block.read(20), bytes(range(1, 21)))
            self.assertEqual(m.check(), [])

    def test_threads(self):
        with self.create() as m:
            errors = []

            def work(number):
                try:
                    for i in range(100):
                        block = m.malloc(40 + i)
                        block.write(bytes([number]) * 40)
                        with block.view() as view:
                            if bytes(view[:40]) != bytes([number]) * 40:
                                errors.append(number)
                        block.free()
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(errors, [])
            self.assertEqual(m.stats().used_blocks, 0)

    def test_processes(self):
        """Processes allocate, and leave a list of blocks; another one finds all of them."""
        code = f"""
with {self.opens} as m:
    for i in range(100):
        block = m.malloc(100)
        block.write(sys.argv[2].encode(), 8)
        while True:
            head = m.roots.get("list")
            block.write((head.word if head else 0).to_bytes(8, "little"))
            if m.roots.compare_and_set("list", head, block):
                break
"""
        with self.create() as m:
            children = [self.start(code, n) for n in range(3)]
            for child in children:
                self.assertEqual((child.communicate(), child.returncode), (("", ""), 0))
            found, word = [], m.roots["list"].word
            while word:
                block = m.block(word)
                found.append(block.read(1, 8))
                word = int.from_bytes(block.read(8), "little")
            self.assertEqual(sorted(found), [b"0"] * 100 + [b"1"] * 100 + [b"2"] * 100)
            self.assertEqual(len(m.blocks()), 300)


for_each(globals(), Opening)


class Private:
    def test_private(self):
        with self.create() as m:
            m.roots["a"] = m.calloc(1, 10)
        with self.module.open(self.path, private=True) as m:
            m.roots["a"].write(b"mine")
            m.malloc(100)
            self.assertFalse(m.readonly)
            self.fails(errno.EBUSY, self.module.open, self.path)
            self.fails(errno.EROFS, m.durable)
        with self.module.open(self.path) as m:
            self.assertEqual(m.roots["a"].read(4), bytes(4))
        wrong = {"readonly": True, "private": True}
        self.fails(errno.EINVAL, self.module.open, self.path, **wrong)

    def test_fork_snapshot(self):
        self.create().close()
        with self.module.open(self.path, fork_snapshot=True) as m:
            block = m.calloc(1, 10)
            pid = os.fork()
            if not pid:
                block.write(b"child")
                os._exit(block.read(5) != b"child")
            self.assertEqual(os.waitpid(pid, 0)[1], 0)
            self.assertEqual(block.read(5), bytes(5))


for_each(globals(), Private, Qalloc, Mmalloc)


class Options(Case):
    def test_qalloc(self):
        with qalloc.create(self.path, 1 << 20, base=0x6000_0000_0000, streams=2, range=1 << 24,
                           processes=100) as m:  # fmt: skip
            stats = m.stats()
            self.assertEqual(stats.base, 0x6000_0000_0000)
            self.assertEqual((stats.streams, stats.slots), (2, 100))
            self.assertLessEqual(stats.range_bytes, 1 << 24)
            self.assertGreater(stats.range_bytes, 1 << 23)
            qalloc.checkpoint()
        for wrong in ({"streams": 5000}, {"base": 5}, {"item": 1 << 40}, {"range": 1 << 19}):
            self.fails(errno.EINVAL, qalloc.create, self.file("b"), 1 << 20, **wrong)
        self.fails(errno.EINVAL, qalloc.create, self.file("b"), 100)
        self.fails(errno.EPROTOTYPE, qalloc.create, self.path, 1 << 20, item=64)

    def test_mmalloc(self):
        base = mmalloc.findbase(1 << 30)
        with mmalloc.create(self.path, base=base, streams=2, reserve=1 << 30, processes=70) as m:
            self.assertEqual((m.stats().base, m.stats().streams), (base, 2))
            self.assertLess(m.stats().user_bytes, 1 << 30)
        with self.assertRaises(ValueError):
            mmalloc.findbase(0)
        self.fails(errno.ENOMEM, mmalloc.findbase, 1 << 60)
        self.fails(errno.EINVAL, mmalloc.attach, base=5)
        self.fails(errno.EBADF, mmalloc.attach, 1000)

    def test_mmalloc_in_memory(self):
        with mmalloc.attach() as m, mmalloc.attach() as other:
            m.malloc(10).write(b"text")
            self.assertNotEqual(m.identity, other.identity)
            self.assertIn("memory", repr(m))
            self.assertEqual(m.stats().disk_bytes, 0)
            self.fails(errno.EROFS, m.durable)
            m.snapshot(self.path)
        with mmalloc.open(self.path) as m:
            self.assertEqual(m.blocks()[0].read(4), b"text")

    def test_shmbuddy(self):
        with shmbuddy.create(self.path, 1 << 20, smallest=64, largest=1 << 16, range=1 << 22,
                             mode=0o640, new=True) as m:  # fmt: skip
            stats = m.stats()
            self.assertEqual((stats.smallest, stats.largest), (64, 1 << 16))
            self.assertEqual(stats.range, 1 << 22)
            self.assertEqual(m.malloc(100).size, 128)
            m.mend()
        self.assertEqual(os.stat(self.path).st_mode & 0o037, 0)
        self.fails(errno.EEXIST, shmbuddy.create, self.path, new=True)
        self.fails(errno.EINVAL, shmbuddy.create, self.path, 1 << 20, smallest=128)
        with shmbuddy.open(self.path) as m:
            shmbuddy.unlink(self.path)
            m.malloc(10)
        self.fails(errno.ENOENT, shmbuddy.unlink, self.path)

    def test_region_in_a_memfd(self):
        fd = os.memfd_create("region")
        with shmbuddy.open_fd(fd, 1 << 20) as m:
            m.roots["a"] = m.malloc(10)
            m.roots["a"].write(b"text")
            with shmbuddy.open_fd(fd, readonly=True) as other:
                self.assertEqual(other.roots["a"].read(4), b"text")
                self.assertEqual(other.roots["a"].offset, m.roots["a"].offset)
                self.assertNotEqual(other.roots["a"].address, m.roots["a"].address)
                self.fails(errno.EROFS, other.malloc, 1)
        os.close(fd)
        self.fails(errno.EBADF, shmbuddy.open_fd, fd)

    def test_region_in_memory(self):
        memory = mmap.mmap(-1, shmbuddy.size_needed(1 << 20))
        with shmbuddy.format(memory, 1 << 20) as m:
            m.roots[None] = m.malloc(10)
            with self.assertRaises(BufferError):
                memory.close()
            with shmbuddy.join(memory) as other:
                self.assertEqual(other.roots[None].offset, m.roots[None].offset)
                self.fails(errno.ENOMEM, other.grow, 1 << 21)
            pid = os.fork()
            if not pid:
                m.roots[None].write(b"child")
                os._exit(0)
            os.waitpid(pid, 0)
            self.assertEqual(m.roots[None].read(5), b"child")
        memory.close()

    def test_region_in_memory_that_is_too_short(self):
        needed = shmbuddy.size_needed(1 << 20, range=1 << 22)
        self.assertGreater(needed, 1 << 22)
        memory = mmap.mmap(-1, needed)
        shmbuddy.format(memory, 1 << 20, range=1 << 22).close()
        short = mmap.mmap(-1, needed - 4096)
        short[:] = memory[: needed - 4096]
        with self.assertRaisesRegex(ValueError, "the region needs"):
            shmbuddy.join(short)
        short.close()
        self.fails(errno.EMEDIUMTYPE, shmbuddy.join, mmap.mmap(-1, 8192))
        with self.assertRaisesRegex(ValueError, "too short"):
            shmbuddy.join(bytearray(100))
        self.fails(errno.EINVAL, shmbuddy.format, mmap.mmap(-1, 8192), 1 << 20)
        with self.assertRaises((TypeError, BufferError)):
            shmbuddy.format(b"\0" * 8192)
        self.fails(errno.EINVAL, shmbuddy.size_needed, 1 << 20, smallest=3)


class Package(Case):
    def test_a_library_that_is_missing(self):
        code = """
import ctypes
def missing(*arguments, **keywords):
    raise OSError("libqalloc.so.1: cannot open shared object file")
ctypes.CDLL = missing
try:
    from mapalloc import qalloc
except ImportError as error:
    print(error)
"""
        child = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
        self.assertRegex(child.stdout, "^libqalloc is not installed: .*cannot open", child.stderr)

    def test_names(self):
        for module in (mapalloc, qalloc, mmalloc, shmbuddy):
            self.assertTrue(module.__doc__)
            for name in module.__all__:
                thing = getattr(module, name)
                if isinstance(thing, int):
                    continue
                self.assertTrue(thing.__doc__, name)
                for member, value in vars(thing).items() if isinstance(thing, type) else ():
                    if not member.startswith("_") and callable(value):
                        self.assertTrue(value.__doc__, f"{name}.{member}")

    def test_errors(self):
        pairs = ((mapalloc.MapFullError, MemoryError), (mapalloc.LockTimeout, TimeoutError))
        for kind, other in pairs:
            error = kind(errno.ENOMEM, "a sentence")
            self.assertIsInstance(error, other)
            self.assertIsInstance(error, mapalloc.Error)
            self.assertIsInstance(error, OSError)
            self.assertEqual((error.errno, error.strerror), (errno.ENOMEM, "a sentence"))
            self.assertEqual(str(error), f"[Errno {errno.ENOMEM}] a sentence")
