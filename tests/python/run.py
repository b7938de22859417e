# SPDX-License-Identifier: BSD-3-Clause
"""Run the tests of the Python package: one line per test for tests/install/python.

A line has three fields with tabs between them: 0, 1 or skip; the test; what went wrong.
"""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).parent


class Lines(unittest.TestResult):
    """Print a line when a test has ended."""

    def line(self, word, test, text="-"):
        name = test.id() if isinstance(test, unittest.TestCase) else str(test)
        text = text.strip().encode("unicode_escape").decode().replace("\\t", " ")
        print(word, name, text or "-", sep="\t", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line("0", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("skip", test, reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("1", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.line("1", test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.line("1", subtest, (self.failures + self.errors)[-1][1])


def main():
    sys.path.insert(0, str(HERE))
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("test_*.py"))
    result = Lines()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(result)
    print("end", result.testsRun, "-", sep="\t")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
