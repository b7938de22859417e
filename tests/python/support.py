# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the Python package share: a folder, a map of each kind, other processes."""

import errno
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import warnings

import mapalloc
from mapalloc import mmalloc, qalloc, shmbuddy


class Case(unittest.TestCase):
    """A test in a folder of its own. A map that it leaves open is an error."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="maps-python.", dir=os.environ.get("MA_TEST_DIR"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "a.map")
        catch = warnings.catch_warnings(record=True)
        self.warnings = catch.__enter__()
        warnings.simplefilter("always")
        self.addCleanup(self.no_warnings, catch)

    def no_warnings(self, catch):
        gc.collect()
        catch.__exit__(None, None, None)
        self.assertEqual([str(w.message) for w in self.warnings], [])

    def file(self, name):
        return os.path.join(self.folder, name)

    def fails(self, code, function, *arguments, kind=mapalloc.Error, **keywords):
        """The call raises an Error with this errno and a sentence that names it."""
        with self.assertRaises(kind) as caught:
            function(*arguments, **keywords)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[code])
        name = re.search(r"\((E[A-Z0-9]+)\)$", caught.exception.strerror)
        self.assertIsNotNone(name, caught.exception)
        self.assertEqual(getattr(errno, name.group(1)), code)  # EDEADLK has two names.
        return caught.exception

    def start(self, code, *arguments):
        """Start a Python program that gets the map's path and these arguments in sys.argv."""
        prelude = "import os, sys, mapalloc\nfrom mapalloc import qalloc, mmalloc, shmbuddy\n"
        child = subprocess.Popen(
            [sys.executable, "-B", "-c", prelude + code, self.path, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, child)
        return child

    @staticmethod
    def end(child):
        if child.poll() is None:
            child.kill()
        child.communicate()

    def run_child(self, code, *arguments):
        """Run such a program to its end, and return what it printed."""
        child = self.start(code, *arguments)
        out, err = child.communicate()
        self.assertEqual((child.returncode, err), (0, ""))
        return out.strip()


class Qalloc:
    """Tests of dynamic maps."""

    module = qalloc
    opens = "qalloc.open(sys.argv[1])"

    def create(self, path=None):
        return qalloc.create(path or self.path, 1 << 20)


class Static:
    """Tests of static maps."""

    module = qalloc
    opens = "qalloc.open(sys.argv[1])"

    def create(self, path=None):
        return qalloc.create(path or self.path, 1 << 20, item=256)


class Mmalloc:
    """Tests of heaps in files."""

    module = mmalloc
    opens = "mmalloc.open(sys.argv[1])"

    def create(self, path=None):
        return mmalloc.create(path or self.path, reserve=1 << 30)


class Shmbuddy:
    """Tests of regions in files."""

    module = shmbuddy
    opens = "shmbuddy.open(sys.argv[1])"

    def create(self, path=None):
        return shmbuddy.create(path or self.path, 1 << 20)


def for_each(names, cases, *kinds):
    """Make a test class of *cases* for each kind of map, in the module with these names."""
    for kind in kinds or (Qalloc, Static, Mmalloc, Shmbuddy):
        name = kind.__name__ + cases.__name__
        names[name] = type(name, (cases, kind, Case), {"__module__": names["__name__"]})
