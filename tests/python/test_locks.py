# SPDX-License-Identifier: BSD-3-Clause
"""Locks: threads, processes, timeouts, holders that are killed, signals."""

import errno
import signal
import threading

import mapalloc
from support import Mmalloc, Qalloc, Static, for_each

HOLD = """
with {} as m:
    lock = m.lock(m.roots["data"])
    print(lock.acquire(), lock.owner_died, flush=True)
    sys.stdin.readline()
    lock.release()
"""


class Locks:
    def lock(self, m):
        m.roots["data"] = m.calloc(1, 64)
        return m.lock(m.roots["data"])

    def holder(self):
        """Another process that holds the lock until it gets a line."""
        child = self.start(HOLD.format(self.opens))
        self.assertEqual(child.stdout.readline(), "True False\n")
        return child

    def test_one_thread(self):
        with self.create() as m:
            lock = self.lock(m)
            with lock as died:
                self.assertIs(died, False)
                self.fails(errno.EDEADLK, lock.acquire)
                self.assertFalse(lock.acquire(blocking=False))
            self.assertFalse(lock.owner_died)
            self.fails(errno.EPERM, lock.release)
            self.assertTrue(lock.acquire(blocking=False))
            lock.release()
            self.assertTrue(lock.acquire(timeout=0))
            lock.release()
            self.assertIn(f"{m.roots['data'].word:#x}", repr(lock))
            with self.assertRaisesRegex(RuntimeError, "mine"):
                with lock:
                    raise RuntimeError("mine")
            self.assertTrue(lock.acquire(False))
            lock.release()

    def test_places(self):
        with self.create() as m, self.create(self.file("b.map")) as other:
            block = m.calloc(1, 64)
            m.lock(block, 56).acquire()
            for start in (4, block.size, block.size - 4):
                with self.assertRaisesRegex(ValueError, "no place for a lock"):
                    m.lock(block, start)
            with self.assertRaises(ValueError):
                m.lock(block, -8)
            with self.assertRaisesRegex(ValueError, "another map"):
                other.lock(block)
            lock = m.lock(block)
            for wrong in ({"blocking": False, "timeout": 1}, {"timeout": -2}):
                with self.assertRaises(ValueError):
                    lock.acquire(**wrong)

    def test_closed(self):
        m = self.create()
        lock = self.lock(m)
        m.close()
        for use in (lock.acquire, lock.release, lock.__enter__, lambda: lock.acquire(False)):
            with self.assertRaisesRegex(ValueError, "closed"):
                use()

    def test_another_process_holds_it(self):
        with self.create() as m:
            lock = self.lock(m)
            child = self.holder()
            self.assertFalse(lock.acquire(blocking=False))
            self.assertFalse(lock.acquire(timeout=0))
            self.assertFalse(lock.acquire(timeout=0.25))
            with self.assertRaises(TimeoutError) as caught, lock.within(0.01):
                self.fail("not reached")
            self.assertIsInstance(caught.exception, mapalloc.LockTimeout)
            self.assertEqual(caught.exception.errno, errno.ETIMEDOUT)
            self.assertIn("(ETIMEDOUT)", str(caught.exception))
            self.fails(errno.EPERM, lock.release)
            child.communicate("\n")
            self.assertEqual(child.returncode, 0)
            with lock as died:
                self.assertFalse(died)

    def test_a_holder_is_killed(self):
        with self.create() as m:
            lock = self.lock(m)
            for take in (lock.__enter__, lambda: lock.acquire() and lock.owner_died,
                         lambda: lock.acquire(False) and lock.owner_died,
                         lambda: lock.acquire(timeout=60) and lock.owner_died):  # fmt: skip
                child = self.holder()
                child.kill()
                child.wait()
                self.assertIs(take(), True)
                lock.release()
                with lock.within(60) as died:
                    self.assertIs(died, False)

    def test_a_holder_is_killed_while_this_process_waits(self):
        with self.create() as m:
            lock = self.lock(m)
            child = self.holder()
            timer = threading.Timer(0.3, child.kill)
            timer.start()
            with lock as died:
                self.assertIs(died, True)
            timer.join()

    def test_a_thread_ends_with_the_lock(self):
        with self.create() as m:
            lock = self.lock(m)
            thread = threading.Thread(target=lock.acquire)
            thread.start()
            thread.join()
            with m.lock(m.roots["data"]) as died:
                self.assertIs(died, True)

    def test_threads_exclude_each_other(self):
        with self.create() as m:
            self.lock(m)
            block = m.roots["data"]

            def count():
                lock = m.lock(block)
                for _ in range(100):
                    with lock:
                        value = int.from_bytes(block.read(8, 8), "little")
                        block.write((value + 1).to_bytes(8, "little"), 8)

            threads = [threading.Thread(target=count) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(int.from_bytes(block.read(8, 8), "little"), 400)

    def test_processes_exclude_each_other(self):
        with self.create() as m:
            self.lock(m)
            code = f"""
with {self.opens} as m:
    block = m.roots["data"]
    for _ in range(200):
        with m.lock(block):
            value = int.from_bytes(block.read(8, 8), "little")
            block.write((value + 1).to_bytes(8, "little"), 8)
"""
            children = [self.start(code) for _ in range(3)]
            for child in children:
                self.assertEqual((child.communicate(), child.returncode), (("", ""), 0))
            self.assertEqual(int.from_bytes(m.roots["data"].read(8, 8), "little"), 600)

    def test_ctrl_c_ends_the_wait(self):
        with self.create() as m, self.lock(m):
            child = self.start(f"""
import threading, time
def tell():
    while not m._calls:
        time.sleep(0.01)
    print("waiting", flush=True)
with {self.opens} as m:
    lock = m.lock(m.roots["data"])
    threading.Thread(target=tell).start()
    try:
        lock.acquire()
    except KeyboardInterrupt:
        print("interrupted")
""")
            self.assertEqual(child.stdout.readline(), "waiting\n")
            child.send_signal(signal.SIGINT)
            self.assertEqual(child.communicate(), ("interrupted\n", ""))

    def test_a_map_is_not_closed_under_a_call(self):
        m = self.create()
        inside, leave = threading.Event(), threading.Event()

        def call(handle):
            inside.set()
            leave.wait()

        thread = threading.Thread(target=m._use, args=(call,))
        thread.start()
        inside.wait()
        with self.assertRaises(mapalloc.Error) as caught:
            m.close()
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        m.malloc(10)
        leave.set()
        thread.join()
        m.close()


for_each(globals(), Locks, Qalloc, Static, Mmalloc)
