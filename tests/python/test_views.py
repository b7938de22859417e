# SPDX-License-Identifier: BSD-3-Clause
"""Views: they cannot outlive the mapping, and a block that is viewed cannot be freed."""

import gc
import weakref

from mapalloc import qalloc
from support import Case, for_each


class Views:
    def test_writable_and_shared(self):
        with self.create() as m:
            block = m.calloc(80)
            with block.view(0, 80) as view, block.view(8, 16) as other:
                self.assertFalse(view.readonly)
                self.assertEqual((view.format, view.nbytes, other.nbytes), ("B", 80, 16))
                view[8] = 7
                self.assertEqual(other[0], 7)
                with view.cast("d") as numbers:
                    numbers[9] = 1.5
                    self.assertEqual(len(numbers), 10)
            with block.view(72, 8) as view, view.cast("d") as numbers:
                self.assertEqual(numbers[0], 1.5)

    def test_the_map_stays_open_while_there_are_views(self):
        m = self.create()
        view = m.malloc(100).view()
        part = view[10:20].cast("h")
        view.release()
        with self.assertRaisesRegex(BufferError, "1 views"):
            m.close()
        self.assertFalse(m.closed)
        part[0] = 5
        self.assertEqual(part[0], 5)
        del part
        m.close()
        self.assertTrue(m.closed)

    def test_views_in_cycles_are_released_by_close(self):
        m = self.create()
        cycle = [m.malloc(10).view()]
        cycle.append(cycle)
        gc.disable()
        try:
            del cycle
            m.close()
        finally:
            gc.enable()

    def test_the_end_of_a_with_statement(self):
        with self.assertRaises(BufferError):
            with self.create() as m:
                view = m.malloc(10).view()
        view.release()
        m.close()
        # An exception is not hidden by a BufferError. The map stays open.
        with self.assertRaisesRegex(KeyError, "mine"):
            with self.module.open(self.path) as m:
                view = m.malloc(10).view()
                raise KeyError("mine")
        self.assertFalse(m.closed)
        view[0] = 1
        view.release()
        m.close()

    def test_a_viewed_block_is_neither_freed_nor_resized(self):
        with self.create() as m:
            block, other = m.malloc(100), m.malloc(100)
            view = block.view()
            for same in (block, m.block(block.word)):
                with self.assertRaisesRegex(BufferError, "views of the block"):
                    same.free()
                with self.assertRaisesRegex(BufferError, "views of the block"):
                    same.resize(200)
            other.free()
            part = view[1:]
            view.release()
            with self.assertRaises(BufferError):
                block.free()
            part.release()
            block.free()
            self.assertEqual(m.check(), [])

    def test_an_empty_view(self):
        with self.create() as m:
            view = m.malloc(16).view(0, 0)
            self.assertEqual((view.nbytes, view.format, bytes(view)), (0, "B", b""))

    def test_a_view_keeps_the_map(self):
        m = self.create()
        view = m.malloc(10).view()
        reference = weakref.ref(m)
        del m
        gc.collect()
        view[0] = 3
        self.assertEqual(view[0], 3)
        self.assertEqual(self.warnings, [])
        reference().malloc(10)
        del view
        gc.collect()
        self.assertIn("unclosed map", str(self.warnings.pop().message))
        self.assertIsNone(reference())

    def test_a_map_that_is_forgotten_is_closed(self):
        m = self.create()
        m.malloc(10)
        del m
        gc.collect()
        self.assertIn("unclosed map", str(self.warnings.pop().message))
        with self.module.open(self.path) as m:
            self.assertTrue(m.opening().first)
            self.assertEqual(m.opening().closed, 1)

    def test_readonly(self):
        with self.create() as m:
            m.roots["a"] = m.calloc(10)
            m.roots["a"].write(b"text")
        with self.module.open(self.path, readonly=True) as m:
            self.assertTrue(m.readonly)
            block = m.roots["a"]
            with block.view() as view:
                self.assertTrue(view.readonly)
                with self.assertRaises(TypeError):
                    view[0] = 1
                with view.cast("h") as numbers, self.assertRaises(TypeError):
                    numbers[0] = 1
            with self.assertRaises(TypeError):
                block.write(b"no")
            self.assertEqual(block.read(4), b"text")

    def test_after_close(self):
        m = self.create()
        block = m.malloc(10)
        roots = m.roots
        m.close()
        m.close()
        uses = [
            block.read, block.view, block.free, lambda: block.size, lambda: block.address,
            lambda: block.offset, lambda: block.resize(9), lambda: m.malloc(1), m.stats, m.check,
            lambda: m.walk(print), m.blocks, lambda: m.block(16), m.opening, lambda: m.tag,
            lambda: roots["a"], lambda: dict(roots), lambda: roots.pop("a", None), m.sync,
            lambda: roots.find_or_create("a", 8), lambda: m.snapshot("x"), m.durable, m.capture,
            m.commit, m.__enter__,
        ]  # fmt: skip
        for use in uses:
            with self.assertRaisesRegex(ValueError, "closed"):
                use()
        self.assertIn("closed", repr(m))

    def test_twice_in_one_process(self):
        with self.create() as one, self.module.open(self.path) as two:
            block = one.malloc(10)
            one.roots["a"] = block
            self.assertEqual(two.roots["a"].read(), block.read())
            view = two.roots["a"].view()
            one.close()
            view[0] = 9
            self.assertEqual(two.roots["a"].read(1), b"\t")
            view.release()


for_each(globals(), Views)


class Garbage(Case):
    def test_code_that_runs_while_map_and_view_are_collected(self):
        """An object of a cycle uses its view in __del__, when the map is garbage as well."""
        code = """
import gc
class User:
    def __del__(self):
        self.view[0] = 1
        print("used", self.view[0])
for order in range(2):
    user = User()
    m = qalloc.create(sys.argv[1] + str(order), 1 << 20)
    if order:
        user.map = m
    user.view = m.malloc(100000).view()
    user.me = user
    del user, m
    gc.collect()
"""
        self.assertEqual(self.run_child(code), "used 1\nused 1")

    def test_at_exit(self):
        """A program ends with a map and a view in global variables."""
        code = "m = qalloc.create(sys.argv[1], 1 << 20); v = m.malloc(10).view(); v[0] = 1"
        self.run_child(code)
        with qalloc.open(self.path) as m:
            self.assertEqual(m.check(), [])

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("NumPy is not installed")
        m = qalloc.create(self.path, 1 << 20)
        array = numpy.frombuffer(m.calloc(80).view(0, 80))
        array[:] = 2.5
        self.assertEqual(array.sum(), 25)
        part = array[3:5]
        del array
        with self.assertRaises(BufferError):
            m.close()
        del part
        m.close()
