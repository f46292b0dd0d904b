"""Tests of the runner's --within and --count: names that pick among what is discovered."""

import unittest

from test_run_unittests import RunnerTestCase


class Within(RunnerTestCase):
    def setUp(self):
        super().setUp()
        self.write("t/__init__.py", "")
        self.write("t/inner/__init__.py", "")
        for name in "t/test_outer.py", "t/inner/test_a.py", "t/inner/test_ab.py":
            self.write_class("def test_1(self): pass\ndef test_2(self): pass\n", name)

    def check(self, names, tests, status=0):
        where = ["--start", "t/inner", "--top", ".", "--within"]
        self.events_file.write_bytes(b"")
        self.run_tests(*where, "--", *names, status=status)
        self.assertEqual(sorted(name for name, _ in self.finished()), tests, names)
        # Nothing is run, and nobody is told anything, when they are only counted.
        self.events_file.write_bytes(b"")
        self.run_tests(*where, "--count", "--", *names, status=0 if tests else 5)
        self.assertEqual(self.events, [])

    def test_names_pick(self):
        both = ["t.inner.test_a.A.test_1", "t.inner.test_a.A.test_2"]
        for name in "t.inner.test_a", "t.inner.test_a.A", "t/inner/test_a.py":
            self.check([name], both)
        self.check(["t.inner.test_a.A.test_2"], both[1:])
        self.check(["-k", "*test_a.*2"], both[1:])
        self.check(["-k", "test_1", "t.inner.test_a"], both[:1])
        self.check(["t.test_outer", "t.inner.test_a.A.test_1"], both[:1])

    def test_what_is_not_discovered_is_not_there(self):
        for name in "t.test_outer", "t/test_outer.py", "t.inner.test_a.A.test", "x":
            self.check([name], [], status=5)

    def break_one(self):
        self.write("t/inner/test_broken.py", "import there_is_no_such_module\n")

    def test_directories(self):
        self.break_one()
        every = [
            "t.inner.test_a.A.test_1",
            "t.inner.test_a.A.test_2",
            "t.inner.test_ab.A.test_1",
            "t.inner.test_ab.A.test_2",
            "t.inner.test_broken",
        ]
        for name in "t/inner", "t", ".":
            self.check([name], every, status=1)
        self.check([], every, status=1)

    def test_a_module_that_cannot_be_imported_stands_for_its_tests(self):
        self.break_one()
        self.check(["t.inner.test_broken.A.test_1"], ["t.inner.test_broken"], status=1)


if __name__ == "__main__":
    unittest.main()
