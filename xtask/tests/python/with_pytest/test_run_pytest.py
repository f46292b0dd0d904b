"""Tests of run_pytest.py, on the host: what it tells for which tests of pytest."""

import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_run_unittests import RUNNER, RunnerTestCase

OUTCOMES = """
    import pytest, unittest, warnings
    class TestA(unittest.TestCase):
        def test_1(self): warnings.warn("nobody's")
        def test_2(self):
            '''What it shows.'''
            self.assertEqual(1, 2)
        def test_3(self): self.skipTest("why")
        @unittest.expectedFailure
        def test_4(self): self.fail()
        @unittest.expectedFailure
        def test_5(self): pass
    class TestB:
        class TestC:
            @pytest.mark.parametrize("a", ["x", "a.b/c::d[e]"])
            def test_1(self, a): assert a == "x"
    @pytest.mark.skip(reason="nope")
    def test_skip(): pass
    @pytest.mark.xfail(reason="later")
    def test_xfail(): assert False
    @pytest.mark.xfail
    def test_xpass(): pass
    @pytest.mark.xfail(strict=True)
    def test_strict(): pass
    @pytest.fixture
    def before(): raise OSError("no setup")
    def test_setup(before): pass
    @pytest.fixture
    def after():
        yield
        raise OSError("no teardown")
    def test_teardown(after): print("printed")
"""


class PytestTestCase(RunnerTestCase):
    runner = RUNNER.with_name("run_pytest.py")

    def setUp(self):
        super().setUp()
        self.write("tests/__init__.py", "")

    def named(self, *arguments, status=0):
        self.events_file.write_bytes(b"")
        self.run_tests("--", *arguments, status=status)
        return [name for name, _ in self.finished()]


class Outcomes(PytestTestCase):
    def setUp(self):
        super().setUp()
        self.write("tests/test_it.py", OUTCOMES)

    def test_each(self):
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(
            dict(self.finished()),
            {
                "tests.test_it.TestA.test_1": "passed",
                "tests.test_it.TestA.test_2": "failed",
                "tests.test_it.TestA.test_3": "skipped",
                "tests.test_it.TestA.test_4": "expected-failure",
                "tests.test_it.TestA.test_5": "unexpected-success",
                "tests.test_it.TestB.TestC.test_1[x]": "passed",
                "tests.test_it.TestB.TestC.test_1[a.b/c::d[e]]": "failed",
                "tests.test_it.test_skip": "skipped",
                "tests.test_it.test_xfail": "expected-failure",
                "tests.test_it.test_xpass": "passed",
                "tests.test_it.test_strict": "unexpected-success",
                "tests.test_it.test_setup": "error",
                "tests.test_it.test_teardown": "error",
            },
        )
        failed = self.one("tests.test_it.TestA.test_2")
        self.assertEqual(failed["reason"], "AssertionError: 1 != 2")
        self.assertEqual(failed["description"], "What it shows.")
        self.assertIn("tests/test_it.py:7: AssertionError", failed["traceback"])
        for name, reason in [
            ("TestA.test_3", "why"),
            ("test_skip", "nope"),
            ("test_xfail", "later"),
            ("test_setup", "OSError: no setup"),
            ("test_teardown", "OSError: no teardown"),
        ]:
            self.assertEqual(self.one("tests.test_it." + name)["reason"], reason)
        self.assertIn("printed", self.one("tests.test_it.test_teardown")["traceback"])
        self.assertNotIn("nobody's", str(self.events))

    def test_names_of_both_kinds(self):
        for name in (
            "tests.test_it.TestB.TestC.test_1[x]",
            "tests/test_it.py::TestB::TestC::test_1[x]",
        ):
            self.assertEqual(self.named(name), ["tests.test_it.TestB.TestC.test_1[x]"])
        hard = "tests.test_it.TestB.TestC.test_1[a.b/c::d[e]]"
        self.assertEqual(self.named(hard, status=1), [hard])
        self.assertEqual(len(self.named("tests.test_it.TestA", status=1)), 5)
        self.assertEqual(len(self.named("-k", "TestC and x", "tests")), 1)
        self.assertEqual(len(self.named("-x", status=1)), 2)
        self.assertEqual(self.named("-k", "nothing", status=5), [])

    def test_names_pick_some_of_the_discovered(self):
        self.run_tests("--within", "--", "tests.test_it.TestB", status=1)
        self.assertEqual(len(self.finished()), 2)
        self.run_tests("--within", "--count", "--", "tests.test_it.TestB")
        self.run_tests("--within", "--count", "--", "tests.test_it.TestX", status=5)


class Modules(PytestTestCase):
    def test_one_that_cannot_be_imported_costs_itself(self):
        self.write("tests/test_bad.py", "import no_such_module")
        self.write("tests/test_good.py", "def test_1(): pass")
        self.write(
            "tests/test_not.py", "import pytest; pytest.skip('no', allow_module_level=True)"
        )
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(self.events[0]["tests"], 3)
        outcomes = dict(self.finished())
        self.assertEqual(outcomes.pop("tests.test_good.test_1"), "passed")
        self.assertEqual(outcomes, {"tests.test_bad": "error", "tests.test_not": "skipped"})
        reason = "ModuleNotFoundError: No module named 'no_such_module'"
        self.assertEqual(self.one("tests.test_bad")["reason"], reason)
        self.assertEqual(self.one("tests.test_not")["reason"], "no")

    def test_one_that_ends_the_process_costs_one_test(self):
        self.write(
            "tests/test_it.py",
            """
            import os
            def test_1(): pass
            def test_2(): os._exit(7)
            def test_3(): pass
            """,
        )
        self.run_tests()
        self.assertEqual(
            self.finished(),
            [("tests.test_it.test_1", "passed"), ("tests.test_it.test_3", "passed")],
        )
        (died,) = [event for event in self.events if event["event"] == "runner-died"]
        self.assertEqual((died["status"], died["id"]), (7, "tests.test_it.test_2"))


class Parts(PytestTestCase):
    def test_they_are_the_whole(self):
        self.write(
            "tests/test_a.py",
            """
            import pytest
            @pytest.fixture(scope="module")
            def once(): pass
            class TestA:
                def test_1(self, once): pass
            class TestB:
                def test_1(self): pass
            """,
        )
        self.write("tests/test_bad.py", "import no_such_module")
        self.write(
            "tests/test_c.py",
            """
            class TestA:
                def test_1(self): pass
                def test_2(self): pass
            class TestB:
                def test_1(self): pass
            """,
        )
        whole = sorted(self.named(status=1))
        parts = []
        for number in 1, 2, 3:
            self.events_file.write_bytes(b"")
            shard = "{}/3".format(number)
            # One part has the module that cannot be imported.
            self.run_tests("--shard", shard, status=None)
            bad = "tests.test_bad" in str(self.finished())
            self.assertEqual(self.status, int(bad), self.text)
            self.assertEqual(self.events[0]["all"], len(whole))
            self.assert_complete()
            parts.append([name for name, _ in self.finished()])
        self.assertEqual(sorted(sum(parts, [])), whole)
        for class_or_module in "tests.test_a.", "tests.test_c.TestA.":
            having = [part for part in parts if class_or_module in str(part)]
            self.assertEqual(len(having), 1, parts)


class Emulated(PytestTestCase):
    def test_what_is_left_out_is_named(self):
        self.write("pytest.ini", "[pytest]\nmarkers =\n    slow: takes long\n")
        self.write(
            "tests/test_it.py",
            """
            import pytest
            @pytest.mark.slow
            def test_1(): assert False
            def test_2(): pass
            """,
        )
        self.run_tests("--emulated", "not slow", status=1)
        os.environ["VMTEST_EMULATED"] = "1"
        self.addCleanup(os.environ.pop, "VMTEST_EMULATED")
        self.events_file.write_bytes(b"")
        self.run_tests("--emulated", "not slow")
        self.assert_complete()
        self.assertEqual(
            sorted(self.finished()),
            [("tests.test_it.test_1", "skipped"), ("tests.test_it.test_2", "passed")],
        )
        self.assertIn("not slow", self.one("tests.test_it.test_1")["reason"])


class Check(PytestTestCase):
    def test_words_of_pytest(self):
        self.write("tests/test_it.py", "def test_1(): pass")
        self.write("tests/test_bad.py", "import no_such_module")
        for words in [], ["tests.test_it.test_1"], ["tests.test_bad.test_1"], ["-k", "x"]:
            self.run_tests("--check", "--", *words)
        for words, said in [
            (["tests.test_it.test_2"], "not found: "),
            (["tests.nothing"], "file or directory not found: tests.nothing"),
            (["--nothing"], "unrecognized arguments: --nothing"),
            (["-m", "("], "Wrong expression passed to '-m'"),
        ]:
            self.run_tests("--check", "--", *words, status=2)
            self.assertIn(said, self.text.splitlines()[-1])
        self.assertEqual(self.events, [])


if __name__ == "__main__":
    unittest.main()
