"""unittest_results.py MODULE...: runs unittest modules, and prints TEST<TAB>RESULT for each test.

The result is ok, FAIL, ERROR or skip; a module that cannot be imported is one ERROR. What the tests
themselves print is thrown away."""

import os
import sys
import unittest

results = os.fdopen(os.dup(1), "w", buffering=1)
null = os.open(os.devnull, os.O_RDWR)
for fd in 1, 2:
    os.dup2(null, fd)


class Results(unittest.TestResult):
    def tell(self, test, result):
        results.write(f"{test.id()}\t{result}\n")

    def addSuccess(self, test):
        self.tell(test, "ok")

    def addFailure(self, test, error):
        self.tell(test, "FAIL")

    def addError(self, test, error):
        self.tell(test, "ERROR")

    def addSkip(self, test, reason):
        self.tell(test, "skip")

    def addExpectedFailure(self, test, error):
        self.tell(test, "ok")

    def addUnexpectedSuccess(self, test):
        self.tell(test, "FAIL")

    def addSubTest(self, test, subtest, error):
        if error:
            self.tell(subtest, "FAIL")


if __name__ == "__main__":  # tests start processes that import the main module
    try:
        from test import support

        support.use_resources = []  # no network, no sound, nothing that takes gigabytes
    except ImportError:
        pass
    for module in sys.argv[1:]:
        suite = unittest.defaultTestLoader.loadTestsFromName(module)
        suite.run(Results())
