# SPDX-License-Identifier: BSD-3-Clause
"""Named roots, and the keys of libmmalloc."""

import errno
import threading

import mapalloc
from mapalloc import mmalloc, qalloc, shmbuddy
from support import Case, for_each


class Roots:
    def test_as_a_mapping(self):
        with self.create() as m:
            one, two = m.malloc(10), m.malloc(10)
            m.roots["one"] = one
            m.roots.update({"zwei/2": two, "drei ö": one.word})
            self.assertEqual(dict(m.roots), {"one": one, "zwei/2": two, "drei ö": one})
            self.assertEqual(len(m.roots), 3)
            self.assertIn("one", m.roots)
            self.assertNotIn("two", m.roots)
            self.assertIsNone(m.roots.get("two"))
            m.roots["one"] = two
            self.assertEqual(m.roots["one"], two)
            del m.roots["one"]
            for missing in (lambda: m.roots["one"], lambda: m.roots.pop("one")):
                with self.assertRaisesRegex(KeyError, "one"):
                    missing()
            with self.assertRaises(KeyError):
                del m.roots["one"]
            self.assertEqual(m.roots.pop("drei ö"), one)
            self.assertEqual(m.roots.pop("drei ö", None), None)
            self.assertEqual(m.roots.setdefault("a", one), one)
            self.assertEqual(m.roots.setdefault("a", two), one)
            with self.assertRaises(TypeError):
                m.roots.setdefault("b")
            m.roots.clear()
            self.assertEqual(list(m.roots), [])
            self.assertEqual(one.size, two.size)
            self.assertIn("roots of", repr(m.roots))

    def test_next_process(self):
        with self.create() as m:
            m.roots["text"] = m.malloc(20)
            m.roots["text"].write(b"from the parent")
            code = f"""
with {self.opens} as m:
    print(m.roots["text"].read(15).decode(), list(m.roots))
    m.roots["answer"] = m.malloc(20)
    m.roots["answer"].write(b"from the child")
"""
            self.assertEqual(self.run_child(code), "from the parent ['text']")
            self.assertEqual(m.roots["answer"].read(14), b"from the child")
        self.assertIn(self.run_child(code), (
            "from the parent ['text', 'answer']", "from the parent ['answer', 'text']"
        ))  # fmt: skip

    def test_names(self):
        with self.create() as m:
            block = m.malloc(10)
            m.roots["x" * 63] = block
            m.roots["ä" * 31] = block
            self.assertEqual(set(m.roots), {"x" * 63, "ä" * 31})
            for name in ("", "x" * 64, "ä" * 32):
                self.fails(errno.EINVAL, m.roots.__setitem__, name, block)
                self.fails(errno.EINVAL, m.roots.__getitem__, name)
                self.fails(errno.EINVAL, m.roots.find_or_create, name, 10)
                self.fails(errno.EINVAL, m.roots.find_or_create, name, 10, print)
            with self.assertRaisesRegex(ValueError, "null"):
                m.roots["a\0b"] = block
            for name in (b"bytes", 7):
                with self.assertRaises(TypeError):
                    m.roots[name] = block
            self.assertEqual(len(m.roots), 2)

    def test_what_no_root_can_be(self):
        with self.create() as m, self.create(self.file("b.map")) as other:
            with self.assertRaisesRegex(ValueError, "another map"):
                m.roots["a"] = other.malloc(10)
            with self.assertRaises(ValueError):
                m.roots["a"] = 0
            with self.assertRaises(TypeError):
                m.roots["a"] = "text"
            self.fails(errno.EINVAL, m.roots.__setitem__, "a", 1 << 50)
            gone = m.malloc(10)
            gone.free()
            with self.assertRaisesRegex(ValueError, "freed"):
                m.roots["a"] = gone
            self.assertEqual(len(m.roots), 0)

    def test_compare_and_set(self):
        with self.create() as m:
            one, two = m.malloc(10), m.malloc(10)
            swap = m.roots.compare_and_set
            self.assertFalse(swap("a", one, two))
            self.assertTrue(swap("a", None, one))
            self.assertFalse(swap("a", None, two))
            self.assertFalse(swap("a", two, one))
            self.assertIs(swap("a", one, two), True)
            self.assertEqual(m.roots["a"], two)
            self.assertTrue(swap("a", two, None))
            self.assertNotIn("a", m.roots)
            self.fails(errno.EINVAL, swap, "", None, one)

    def test_find_or_create(self):
        with self.create() as m:
            calls = []

            def fill(view):
                calls.append(bytes(view))
                view[:4] = b"full"

            block, created = m.roots.find_or_create("a", 50, fill)
            self.assertIs(created, True)
            self.assertEqual(block.read(50), b"full" + bytes(46))
            again, created = m.roots.find_or_create("a", 50, fill)
            self.assertIs(created, False)
            self.assertEqual(again, block)
            self.assertEqual(calls, [bytes(50)])
            zero, created = m.roots.find_or_create("b", 50)
            self.assertTrue(created)
            self.assertEqual(zero.read(50), bytes(50))
            self.assertEqual(m.roots.find_or_create("b", 50), (zero, False))
            with self.assertRaises(ValueError):
                m.roots.find_or_create("c", 0)
            self.assertEqual(m.stats().used_blocks, 2)

    def test_find_or_create_that_fails(self):
        with self.create() as m:
            kept = []

            def keep(view):
                kept.append(view[1:])

            def fail(view):
                kept.append(view[1:])
                raise LookupError("mine")

            with self.assertRaisesRegex(BufferError, "kept a view"):
                m.roots.find_or_create("a", 50, keep)
            with self.assertRaisesRegex(LookupError, "mine"):
                m.roots.find_or_create("a", 50, fail)
            with self.assertRaises(KeyboardInterrupt):
                m.roots.find_or_create("a", 50, self.interrupt)
            self.assertEqual(m.stats().used_blocks, 0)
            self.assertEqual(list(m.roots), [])
            with self.assertRaises(BufferError):
                m.close()
            for view in kept:
                view.release()
            code = errno.EINVAL if getattr(m.stats(), "is_static", False) else errno.ENOMEM
            for init in (None, keep):
                self.fails(code, m.roots.find_or_create, "a", 1 << 50, init)

    @staticmethod
    def interrupt(view):
        raise KeyboardInterrupt

    def test_one_of_two_creators(self):
        """Another process creates the root while this one fills its block."""
        code = f"""
with {self.opens} as m:
    m.roots.find_or_create("a", 50, lambda view: view.__setitem__(0, 1))
"""
        with self.create() as m:
            block, created = m.roots.find_or_create("a", 50, lambda view: self.run_child(code))
            self.assertFalse(created)
            self.assertEqual(block.read(1), b"\1")
            self.assertEqual(m.stats().used_blocks, 1)

    def test_threads_push(self):
        """A list to whose head threads push: none of the blocks is lost."""
        with self.create() as m:

            def push(count):
                for _ in range(count):
                    block = m.malloc(8)
                    while True:
                        head = m.roots.get("list")
                        block.write((head.word if head else 0).to_bytes(8, "little"))
                        if m.roots.compare_and_set("list", head, block):
                            break

            threads = [threading.Thread(target=push, args=(50,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            length, word = 0, m.roots["list"].word
            while word:
                length, word = length + 1, int.from_bytes(m.block(word).read(8), "little")
            self.assertEqual(length, 200)


for_each(globals(), Roots)


class Others(Case):
    def test_any_number_but_64_of_a_region(self):
        with qalloc.create(self.path, 4 << 20) as m:
            block = m.malloc(10)
            for i in range(300):
                m.roots[str(i)] = block
            self.assertEqual(set(m.roots), {str(i) for i in range(300)})
        with shmbuddy.create(self.file("s"), 1 << 20) as m:
            block = m.malloc(10)
            for i in range(64):
                m.roots[str(i)] = block
            self.fails(errno.ENOSPC, m.roots.__setitem__, "more", block)

    def test_the_root_without_a_name(self):
        with shmbuddy.create(self.path, 1 << 20) as m:
            m.roots["a"] = m.malloc(10)
            block, created = m.roots.find_or_create(None, 10)
            self.assertTrue(created)
            self.assertEqual(m.roots[None], block)
            self.assertEqual(list(m.roots), [None, "a"])
            del m.roots[None]
            self.assertNotIn(None, m.roots)
        for module in (qalloc, mmalloc):
            create = (lambda: qalloc.create(self.file("q"), 1 << 20), mmalloc.attach)
            with create[module is mmalloc]() as m, self.assertRaises(TypeError):
                m.roots[None] = m.malloc(10)

    def test_a_root_inside_a_block(self):
        with qalloc.create(self.path, 1 << 20) as m:
            block = m.malloc(100)
            m.roots["inside"] = block.word + 40
            self.assertEqual(m.roots["inside"].address, block.address + 40)
            self.fails(errno.EINVAL, m.roots["inside"].view)

    def test_keys(self):
        with mmalloc.create(self.path) as m:
            block = m.malloc(10)
            self.assertEqual(m.get_key(5), 0)
            m.set_key(5, block)
            m.set_key(0, 4711)
            self.assertEqual(m.block(m.get_key(5)), block)
            self.assertFalse(m.compare_and_set_key(0, 4712, block))
            self.assertTrue(m.compare_and_set_key(0, 4711, 0))
            self.assertEqual(m.get_key(0), 0)
            for key in (mmalloc.KEYS, 1000):
                self.fails(errno.EINVAL, m.get_key, key)
                self.fails(errno.EINVAL, m.set_key, key, 1)
                self.fails(errno.EINVAL, m.compare_and_set_key, key, 1, 2)
            with self.assertRaises(ValueError):
                m.get_key(-1)
        with mmalloc.open(self.path, readonly=True) as m:
            self.assertEqual(m.get_key(5), block.word)
            self.fails(errno.EROFS, m.set_key, 5, 1)
            self.fails(errno.EROFS, m.roots.__setitem__, "a", block.word)
            self.assertIsInstance(self.fails(errno.EROFS, m.malloc, 1), mapalloc.Error)
