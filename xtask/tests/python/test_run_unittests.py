"""Tests of the guest's runner, on the host: what it tells for which tests."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
RUNNER = REPOSITORY / "vmtest-assets" / "guest" / "run_unittests.py"


class RunnerTestCase(unittest.TestCase):
    runner = RUNNER

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.project = Path(directory.name, "project")
        self.project.mkdir()
        self.events_file = Path(directory.name, "events")
        self.events_file.write_bytes(b"")

    def write(self, name, text):
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def write_class(self, body, name="test_it.py"):
        body = textwrap.indent(textwrap.dedent(body), "    ")
        header = "import os, sys, signal, unittest\nclass A(unittest.TestCase):\n"
        self.write(name, header + body)

    def run_tests(self, *arguments, status=0, events=None):
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        environment["VMTEST_EVENTS"] = str(events or self.events_file)
        journal = Path(environment["VMTEST_EVENTS"] + ".journal")
        self.text = ""
        for _ in range(30):
            process = subprocess.run(
                [sys.executable, str(self.runner)] + list(arguments),
                cwd=str(self.project),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=60,
            )
            self.text += process.stdout.decode()
            ended = process.returncode
            if ended < 0:
                ended = 128 - ended
            # As init does.
            if not journal.exists() or journal.stat().st_size == 0:
                break
            with journal.open("a") as file:
                file.write('\n{"status":%d}\n' % ended)
        if journal.exists():
            self.assertEqual(journal.stat().st_size, 0)
            journal.unlink()
        self.status = ended
        if status is not None:
            self.assertEqual(ended, status, self.text)
        data = self.events_file.read_bytes()
        lines = filter(None, data.decode("utf-8").splitlines())
        self.events = [json.loads(line) for line in lines]
        for event in self.events:
            self.assertEqual(event["v"], 1)
        return self.events

    def finished(self):
        return [
            (event["id"], event["outcome"])
            for event in self.events
            if event["event"] == "test-finished"
        ]

    def one(self, name):
        (event,) = [
            event
            for event in self.events
            if event["event"] == "test-finished" and event["id"] == name
        ]
        return event

    def assert_complete(self):
        """The run told of every test once, and its counts say the same."""
        self.assertEqual(self.events[0]["event"], "run-started")
        self.assertEqual(self.events[-1]["event"], "run-finished")
        counts = dict.fromkeys(self.events[-1]["counts"], 0)
        for _, outcome in self.finished():
            counts[outcome] += 1
        self.assertEqual(counts, self.events[-1]["counts"])


class Outcomes(RunnerTestCase):
    def test_each(self):
        self.write_class(
            """
            def test_passed(self): pass
            def test_failed(self): self.assertEqual(1, 2)
            def test_error(self): raise ValueError("odd")
            def test_skipped(self): self.skipTest("why")
            @unittest.expectedFailure
            def test_expected(self): self.fail()
            @unittest.expectedFailure
            def test_unexpected(self): pass
            """
        )
        self.run_tests(status=1)
        self.assertEqual(
            sorted(self.finished()),
            [
                ("test_it.A.test_error", "error"),
                ("test_it.A.test_expected", "expected-failure"),
                ("test_it.A.test_failed", "failed"),
                ("test_it.A.test_passed", "passed"),
                ("test_it.A.test_skipped", "skipped"),
                ("test_it.A.test_unexpected", "unexpected-success"),
            ],
        )
        self.assert_complete()
        self.assertEqual(self.events[0]["tests"], 6)
        self.assertEqual(self.one("test_it.A.test_skipped")["reason"], "why")
        failed = self.one("test_it.A.test_failed")
        self.assertEqual(failed["reason"], "AssertionError: 1 != 2")
        self.assertIn("self.assertEqual(1, 2)", failed["traceback"])
        # unittest's own frames are of no use to anybody.
        self.assertNotIn("unittest/case.py", failed["traceback"])
        self.assertNotIn("traceback", self.one("test_it.A.test_passed"))
        self.assertIn("FAILED (failures=1, errors=1, skipped=1", self.text)

    def test_order_of_events(self):
        self.write_class("def test_a(self): pass\ndef test_b(self): pass\n")
        self.run_tests()
        self.assertEqual(
            [(event["event"], event.get("id")) for event in self.events],
            [
                ("run-started", None),
                ("test-started", "test_it.A.test_a"),
                ("test-finished", "test_it.A.test_a"),
                ("test-started", "test_it.A.test_b"),
                ("test-finished", "test_it.A.test_b"),
                ("run-finished", None),
            ],
        )
        self.assertGreaterEqual(self.one("test_it.A.test_a")["seconds"], 0)

    def test_subtests_are_one_test(self):
        self.write_class(
            """
            def test_mixed(self):
                for n in range(5):
                    with self.subTest(n=n):
                        if n == 1: self.fail("first")
                        if n == 2: raise ValueError("second")
                        if n == 3: self.skipTest("third")
            def test_skipped(self):
                for n in range(3):
                    with self.subTest(n=n):
                        if n == 1: self.skipTest("one of them")
            def test_fine(self):
                for n in range(3):
                    with self.subTest(n=n): pass
            """
        )
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(
            sorted(self.finished()),
            [
                ("test_it.A.test_fine", "passed"),
                ("test_it.A.test_mixed", "failed"),
                ("test_it.A.test_skipped", "skipped"),
            ],
        )
        mixed = self.one("test_it.A.test_mixed")
        self.assertEqual(
            mixed["reason"], "(n=1): AssertionError: first; (n=2): ValueError: second"
        )
        self.assertIn("failed (n=1):\nTraceback", mixed["traceback"])
        self.assertIn("error (n=2):\nTraceback", mixed["traceback"])
        names = ["subtest", "outcome", "reason"]
        self.assertEqual(
            [tuple(subtest[name] for name in names) for subtest in mixed["subtests"]],
            [
                ("(n=1)", "failed", "AssertionError: first"),
                ("(n=2)", "error", "ValueError: second"),
                ("(n=3)", "skipped", "third"),
            ],
        )
        skipped = self.one("test_it.A.test_skipped")
        # Skips are counted by their reasons.
        self.assertEqual(skipped["reason"], "one of them")
        self.assertEqual(skipped["subtests"][0]["subtest"], "(n=1)")
        self.assertNotIn("subtests", self.one("test_it.A.test_fine"))

    def test_subtests_have_unittests_own_names(self):
        self.write_class(
            """
            def test_it(self):
                class Bad:
                    def __repr__(self): raise ValueError("no")
                class Odd:
                    def __repr__(self): return "a\\n\\x1b[31m\\udcff"
                for message, parameters in (
                    ("message", {}),
                    ("message", {"n": 1}),
                    (None, {"program": "failing", "n": 2}),
                    (None, {}),
                    (None, {"x": Odd()}),
                    (None, {"x": "y" * 100000}),
                    (None, {"x": Bad()}),
                ):
                    args = [] if message is None else [message]
                    with self.subTest(*args, **parameters): self.fail()
            """
        )
        self.run_tests("-v", status=1)
        self.assert_complete()
        subtests = self.one("test_it.A.test_it")["subtests"]
        names = [subtest["subtest"] for subtest in subtests]
        self.assertEqual(
            names[:5],
            [
                "[message]",
                "[message] (n=1)",
                "(program='failing', n=2)",
                "(<subtest>)",
                "(x=a\\n\\x1b[31m\\udcff)",
            ],
        )
        self.assertRegex(names[5], r"^\(x='yyy+…y+'\)$")
        self.assertLess(len(names[5]), 310)
        self.assertEqual(names[6], "(description failed with ValueError)")

    def test_thousands_of_subtests_are_bounded(self):
        self.write_class(
            """
            def test_it(self):
                for n in range(3000):
                    with self.subTest(n=n): self.fail("x" * 3000)
            """
        )
        self.run_tests(status=1)
        event = self.one("test_it.A.test_it")
        self.assertEqual(len(event["subtests"]), 100)
        self.assertEqual(event["more_subtests"], 2900)
        self.assertEqual(event["subtests"][99]["subtest"], "(n=99)")
        self.assertLess(len(json.dumps(event)), 150000)
        # Both ends are there.
        self.assertIn("failed (n=0):", event["traceback"])
        self.assertIn("failed (n=2999):", event["traceback"])

    def test_subtests_of_other_kinds_of_tests(self):
        self.write_class(
            """
            @unittest.expectedFailure
            def test_expected(self):
                for n in range(3):
                    with self.subTest(n=n): self.assertNotEqual(n, 1)
            def test_and_itself(self):
                with self.subTest(n=1): self.fail("in")
                self.fail("out")
            """
        )
        self.write(
            "test_async.py",
            """
            import unittest
            Case = getattr(unittest, "IsolatedAsyncioTestCase", None)
            if Case:
                class A(Case):
                    async def test_it(self):
                        with self.subTest(n=1): self.fail("later")
            """,
        )
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(self.one("test_it.A.test_expected")["outcome"], "expected-failure")
        self.assertNotIn("subtests", self.one("test_it.A.test_expected"))
        both = self.one("test_it.A.test_and_itself")
        self.assertEqual(both["reason"], "(n=1): AssertionError: in; AssertionError: out")
        self.assertEqual(len(both["subtests"]), 1)
        if hasattr(unittest, "IsolatedAsyncioTestCase"):
            later = self.one("test_async.A.test_it")
            self.assertEqual(later["subtests"][0]["subtest"], "(n=1)")

    def test_what_a_test_says_of_itself(self):
        self.write_class(
            """
            def test_failed(self):
                "What it shows."
                self.fail()
            def test_passed(self):
                "Nobody asks."
            def test_own(self):
                self.shortDescription = lambda: 1 / 0
                self.fail()
            """
        )
        self.run_tests(status=1)
        self.assertEqual(self.one("test_it.A.test_failed")["description"], "What it shows.")
        self.assertNotIn("description", self.one("test_it.A.test_passed"))
        self.assertNotIn("description", self.one("test_it.A.test_own"))

    def test_test_and_tear_down_fail(self):
        self.write_class(
            """
            def tearDown(self): raise ValueError("late")
            def test_it(self): self.fail("early")
            """
        )
        self.run_tests(status=1)
        self.assert_complete()
        (finished,) = self.finished()
        self.assertEqual(finished, ("test_it.A.test_it", "failed"))
        self.assertIn("late", self.one("test_it.A.test_it")["traceback"])

    def test_clean_up_fails(self):
        self.write_class(
            """
            def test_it(self): self.addCleanup(lambda: 1 / 0)
            """
        )
        self.run_tests(status=1)
        self.assertEqual(self.finished(), [("test_it.A.test_it", "error")])


class Fixtures(RunnerTestCase):
    CLASSES = """
        import unittest
        class A(unittest.TestCase):
            @classmethod
            def setUpClass(cls): {}
            def test_1(self): pass
            def test_2(self): pass
        class B(unittest.TestCase):
            def test_3(self): pass
    """

    def test_class_that_fails(self):
        self.write("test_it.py", self.CLASSES.format("raise ValueError('no')"))
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(self.events[0]["tests"], 3)
        self.assertEqual(
            self.finished(),
            [
                ("test_it.A.test_1", "error"),
                ("test_it.A.test_2", "error"),
                ("test_it.B.test_3", "passed"),
            ],
        )
        first, second = self.one("test_it.A.test_1"), self.one("test_it.A.test_2")
        self.assertEqual(first["reason"], "setUpClass (test_it.A): ValueError: no")
        self.assertIn("Traceback", first["traceback"])
        self.assertEqual(second["reason"], first["reason"])
        self.assertNotIn("traceback", second)

    def test_class_that_skips(self):
        self.write("test_it.py", self.CLASSES.format("raise unittest.SkipTest('no')"))
        self.run_tests()
        self.assert_complete()
        self.assertEqual(
            self.finished(),
            [
                ("test_it.A.test_1", "skipped"),
                ("test_it.A.test_2", "skipped"),
                ("test_it.B.test_3", "passed"),
            ],
        )
        self.assertEqual(self.one("test_it.A.test_2")["reason"], "no")

    def test_only_a_class_that_skips(self):
        self.write("test_it.py", self.CLASSES.format("raise unittest.SkipTest('no')"))
        self.run_tests("test_it.A")
        self.assert_complete()
        self.assertEqual(len(self.finished()), 2)

    def test_decorated_class(self):
        self.write(
            "test_it.py",
            """
            import unittest
            @unittest.skip("all of it")
            class A(unittest.TestCase):
                def test_1(self): pass
                def test_2(self): pass
            """,
        )
        self.run_tests()
        self.assert_complete()
        self.assertEqual([outcome for _, outcome in self.finished()], ["skipped"] * 2)

    def test_module_that_fails(self):
        self.write("test_it.py", self.CLASSES.format("pass"))
        with (self.project / "test_it.py").open("a") as file:
            file.write("\ndef setUpModule(): raise ValueError('all')\n")
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual([outcome for _, outcome in self.finished()], ["error"] * 3)

    def test_module_that_skips(self):
        self.write("test_it.py", self.CLASSES.format("pass"))
        with (self.project / "test_it.py").open("a") as file:
            file.write("\ndef setUpModule(): raise unittest.SkipTest('all')\n")
        self.run_tests()
        self.assert_complete()
        self.assertEqual([outcome for _, outcome in self.finished()], ["skipped"] * 3)

    def test_tear_down_fails(self):
        self.write_class(
            """
            @classmethod
            def tearDownClass(cls): raise ValueError("late")
            def test_it(self): pass
            """
        )
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(
            self.finished(),
            [
                ("test_it.A.test_it", "passed"),
                ("tearDownClass (test_it.A)", "error"),
            ],
        )

    def test_module_that_cannot_be_imported(self):
        self.write("test_bad.py", "import no_such_module\n")
        self.write_class("def test_it(self): pass\n")
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(
            sorted(self.finished()),
            [("test_bad", "error"), ("test_it.A.test_it", "passed")],
        )
        bad = self.one("test_bad")
        self.assertIn("no_such_module", bad["traceback"])
        # The cause is in the line that reports quote.
        self.assertRegex(
            bad["reason"],
            "^ImportError: Failed to import test module: test_bad: "
            "ModuleNotFoundError: No module named 'no_such_module'$",
        )

    def test_module_that_skips_when_imported(self):
        self.write("test_skip.py", "import unittest\nraise unittest.SkipTest('not here')\n")
        self.run_tests()
        self.assert_complete()
        self.assertEqual(self.finished(), [("test_skip", "skipped")])
        self.assertEqual(self.one("test_skip")["reason"], "not here")


class Choosing(RunnerTestCase):
    def setUp(self):
        super().setUp()
        self.write("pkg/__init__.py", "")
        self.write("pkg/sub/__init__.py", "")
        for name in ("pkg/test_one.py", "pkg/sub/test_two.py"):
            self.write_class("def test_x(self): pass\ndef test_y(self): pass\n", name)
        self.write_class("def test_x(self): pass\n", "pkg/other.py")

    def ids(self, *arguments, **keywords):
        self.run_tests(*arguments, **keywords)
        return sorted(name for name, _ in self.finished())

    ONE = ["pkg.test_one.A.test_x", "pkg.test_one.A.test_y"]
    TWO = ["pkg.sub.test_two.A.test_x", "pkg.sub.test_two.A.test_y"]

    def test_discovery(self):
        arguments = ["--start", "pkg", "--top", "."]
        self.assertEqual(self.ids(*arguments), self.TWO + self.ONE)

    def test_pattern(self):
        arguments = ["--start", "pkg", "--top", ".", "--pattern", "o*.py"]
        self.assertEqual(self.ids(*arguments), ["pkg.other.A.test_x"])

    def test_exclude(self):
        arguments = ["--start", "pkg", "--top", ".", "--exclude", "pkg/sub/*"]
        self.assertEqual(self.ids(*arguments), self.ONE)

    def test_dotted_names(self):
        names = ["pkg.test_one.A.test_x", "pkg.sub.test_two"]
        self.assertEqual(self.ids("--start", "pkg", "--", *names), self.TWO + self.ONE[:1])

    def test_file(self):
        self.assertEqual(self.ids("--top", ".", "pkg/sub/test_two.py"), self.TWO)

    def test_absolute_file(self):
        path = str(self.project / "pkg" / "test_one.py")
        self.assertEqual(self.ids("--top", ".", path), self.ONE)

    def test_directory(self):
        self.assertEqual(self.ids("--top", ".", "pkg/sub"), self.TWO)

    def test_k(self):
        arguments = ["--start", "pkg", "--top", ".", "-k", "test_one", "-k", "*two*_y"]
        self.assertEqual(self.ids(*arguments), self.TWO[1:] + self.ONE)

    def test_name_that_does_not_exist(self):
        self.assertEqual(self.ids("pkg.test_none", status=1), ["test_none"])
        self.assert_complete()
        self.assertIn("pkg.test_none", self.one("test_none")["traceback"])

    def test_nothing(self):
        self.assertEqual(self.ids("-k", "no such test", status=5), [])
        self.assert_complete()
        self.assertEqual(self.events[0]["tests"], 0)

    def test_wrong_option(self):
        self.assertEqual(self.ids("--no-such-option", status=2), [])

    def test_verbose(self):
        self.ids("-v", "pkg.test_one")
        self.assertRegex(self.text, r"test_x .*\.\.\. ok")

    def test_failfast(self):
        self.write_class(
            "def test_a(self): self.fail()\ndef test_b(self): pass\n", "pkg/test_one.py"
        )
        self.assertEqual(len(self.ids("-f", "pkg.test_one", status=1)), 1)
        self.assert_complete()
        self.assertEqual(self.events[0]["tests"], 2)

    def test_buffer(self):
        self.write_class(
            "def test_a(self):\n    print('captured')\n    self.fail()\n", "pkg/test_one.py"
        )
        self.ids("-b", "pkg.test_one", status=1)
        self.assertIn("captured", self.one("pkg.test_one.A.test_a")["traceback"])

    def test_modules_beside_the_runner_are_not_found(self):
        self.write_class(
            "def test_a(self):\n"
            "    self.assertEqual(sys.path[0], os.getcwd())\n"
            "    with self.assertRaises(ImportError):\n"
            "        import run_unittests\n",
            "pkg/test_one.py",
        )
        self.ids("pkg.test_one")


class Hostile(RunnerTestCase):
    def deaths(self):
        return [
            (event["status"], event.get("id"))
            for event in self.events
            if event["event"] == "runner-died"
        ]

    def test_os_exit(self):
        self.write_class("def test_a(self): pass\ndef test_b(self): os._exit(0)\n")
        self.run_tests()
        self.assertEqual(self.deaths(), [(0, "test_it.A.test_b")])
        self.assert_complete()

    def test_signal(self):
        self.write_class("def test_b(self): os.kill(os.getpid(), signal.SIGSEGV)\n")
        self.run_tests(status=5)
        self.assertEqual(self.deaths(), [(139, "test_it.A.test_b")])
        self.assert_complete()

    def test_what_is_behind_a_death_runs_in_a_new_process(self):
        self.write_class(
            """
            @classmethod
            def setUpClass(cls): cls.ready = os.getpid()
            def test_1(self): self.assertTrue(self.ready)
            def test_2(self): os.kill(os.getpid(), signal.SIGKILL)
            def test_3(self): self.assertEqual(self.ready, os.getpid())
            def test_4(self): os._exit(3)
            def test_5(self): self.skipTest("why")
            """
        )
        self.write_class("def test_it(self): self.fail()\n", "test_other.py")
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual(
            self.deaths(), [(137, "test_it.A.test_2"), (3, "test_it.A.test_4")]
        )
        self.assertEqual(
            self.finished(),
            [
                ("test_it.A.test_1", "passed"),
                ("test_it.A.test_3", "passed"),
                ("test_it.A.test_5", "skipped"),
                ("test_other.A.test_it", "failed"),
            ],
        )
        begun = [event for event in self.events if event["event"] == "run-started"]
        self.assertEqual([event["tests"] for event in begun], [6])
        left = os.listdir(str(self.events_file.parent))
        self.assertEqual(sorted(left), ["events", "project"])

    def test_a_suite_that_always_dies_ends(self):
        body = "".join(
            "def test_{:03}(self): os._exit(7)\n".format(n) for n in range(50)
        )
        self.write_class(body)
        self.run_tests(status=7)
        self.assertEqual(len(self.deaths()), 20)
        self.assertEqual(self.events[-1]["event"], "test-started")

    def test_a_fixture_that_always_dies_ends_too(self):
        self.write_class("def test_1(self): pass\n", "test_first.py")
        self.write_class(
            """
            @classmethod
            def setUpClass(cls): os._exit(9)
            def test_1(self): pass
            """,
            "test_second.py",
        )
        self.run_tests(status=9)
        self.assertEqual(self.deaths(), [(9, None)])
        self.assertEqual(self.finished(), [("test_first.A.test_1", "passed")])

    def test_a_module_that_ends_the_process_is_loaded_once(self):
        self.write("test_it.py", "import os\nos._exit(4)\n")
        self.run_tests(status=4)
        self.assertEqual(self.events, [])

    def test_failfast_means_the_whole_run(self):
        self.write_class("def test_a(self): os._exit(3)\ndef test_b(self): pass\n")
        self.run_tests("-f", status=3)
        self.assertEqual(self.deaths(), [])

    def test_interrupt(self):
        self.write_class(
            "def test_a(self): raise KeyboardInterrupt\ndef test_b(self): pass\n"
        )
        self.run_tests(status=130)
        # The test that was interrupted is still the one that is running.
        self.assertEqual(self.events[-1]["id"], "test_it.A.test_a")
        self.assertEqual(self.events[-1]["event"], "test-started")

    def test_exit_is_only_an_error(self):
        self.write_class("def test_a(self): sys.exit(0)\ndef test_b(self): pass\n")
        self.run_tests(status=1)
        self.assert_complete()
        self.assertEqual([outcome for _, outcome in self.finished()], ["error", "passed"])

    def test_closed_descriptors(self):
        self.write_class(
            """
            def test_a(self): os.closerange(3, 4096)
            def test_b(self): pass
            """
        )
        self.run_tests()
        self.assert_complete()
        self.assertEqual(len(self.finished()), 2)

    def test_all_descriptors_closed(self):
        self.write_class(
            """
            def test_a(self): os.closerange(0, 4096)
            def test_b(self):
                print("to nobody")
                self.fail("long " * 100000)
            def test_c(self): pass
            """
        )
        self.run_tests(status=1)
        self.assert_complete()
        outcomes = [outcome for _, outcome in self.finished()]
        self.assertEqual(outcomes, ["passed", "failed", "passed"])

    def test_garbage_between_events(self):
        self.write_class(
            """
            def test_a(self):
                with open(EVENTS, "ab", buffering=0) as events:
                    events.write(b"\\xff\\0 no end")
            def test_b(self): pass
            """.replace("EVENTS", repr(str(self.events_file)))
        )
        environment = dict(os.environ, VMTEST_EVENTS=str(self.events_file))
        subprocess.check_call(
            [sys.executable, str(RUNNER)],
            cwd=str(self.project),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        lines = [line for line in self.events_file.read_bytes().split(b"\n") if line]
        self.assertEqual(lines.pop(2), b"\xff\0 no end")
        names = [json.loads(line.decode())["event"] for line in lines]
        self.assertEqual(
            names, ["run-started"] + ["test-started", "test-finished"] * 2 + ["run-finished"]
        )

    def test_a_descriptor_that_became_another_file(self):
        self.write_class(
            """
            def test_a(self):
                with open("other", "wb") as other:
                    for number in os.listdir("/proc/self/fd"):
                        if int(number) >= 3 and int(number) != other.fileno():
                            try: os.dup2(other.fileno(), int(number))
                            except OSError: pass
            def test_b(self): pass
            """
        )
        self.run_tests()
        self.assert_complete()
        self.assertEqual((self.project / "other").read_bytes(), b"")

    def test_closed_streams(self):
        self.write_class(
            """
            def test_a(self):
                os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
                os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
            def test_b(self): pass
            """
        )
        self.run_tests()
        self.assert_complete()

    def test_another_directory_and_environment(self):
        self.write_class(
            """
            def test_a(self):
                os.chdir("/")
                os.environ.clear()
            def test_b(self): pass
            """
        )
        self.run_tests()
        self.assert_complete()

    def test_children_do_not_report(self):
        self.write_class(
            """
            def test_a(self):
                if os.fork() == 0:
                    # Leaves the test and goes on as if it were the parent.
                    return
                os.wait()
            def test_b(self): pass
            """
        )
        self.run_tests()
        self.assert_complete()
        self.assertEqual(len(self.finished()), 2)

    def test_programs_do_not_inherit_the_events(self):
        self.write_class(
            """
            def test_a(self):
                import subprocess
                self.assertNotIn("VMTEST_EVENTS", os.environ)
                names = subprocess.check_output(["ls", "-l", "/proc/self/fd"], close_fds=False)
                self.assertNotIn(b"/events", names)
            """
        )
        self.run_tests()

    def test_invalid_unicode(self):
        self.write_class(
            """
            def test_a(self): self.fail("bad \\udcff name \\x00 \\U0001f600")
            def test_b(self): self.skipTest("\\ud800")
            def test_c(self): print("\\udcff")
            """
        )
        self.run_tests(status=1)
        self.assert_complete()
        self.assertIn("bad \\udcff name \0 \U0001f600", self.one("test_it.A.test_a")["reason"])

    def test_huge_texts(self):
        self.write_class(
            """
            def test_a(self): self.fail("begin" + "x" * 5000000 + "end")
            def test_b(self): self.skipTest("y" * 5000000)
            """
        )
        self.run_tests(status=1)
        self.assert_complete()
        data = self.events_file.read_bytes()
        self.assertLess(max(map(len, data.splitlines())), 64 * 1024)
        traceback = self.one("test_it.A.test_a")["traceback"]
        self.assertIn("begin", traceback)
        self.assertTrue(traceback.rstrip().endswith("end"), traceback[-100:])

    def test_events_that_cannot_be_opened(self):
        self.write_class("def test_a(self): pass\n")
        self.run_tests(events="/no/such/device")
        self.assertIn("cannot report events to /no/such/device", self.text)

    def test_events_that_cannot_be_written(self):
        self.write_class("def test_a(self): pass\n")
        self.run_tests(events="/dev/full")
        self.assertIn("OK", self.text)

    def test_a_reader_that_goes_away(self):
        fifo = self.project.parent / "fifo"
        os.mkfifo(str(fifo))
        self.write_class(
            """
            def test_a(self):
                import time
                while not os.path.exists("gone"):
                    time.sleep(0.01)
            def test_b(self): pass
            """
        )

        def read_a_little():
            with fifo.open("rb", buffering=0) as reader:
                reader.read(1)
            (self.project / "gone").touch()

        thread = threading.Thread(target=read_a_little)
        thread.start()
        self.run_tests(events=str(fifo))
        thread.join()
        self.assertIn("Ran 2 tests", self.text)


class Checking(RunnerTestCase):
    """What can be said before anything runs."""

    def setUp(self):
        super().setUp()
        self.write("pkg/__init__.py", "")
        self.write_class("def test_x(self): pass\n", "pkg/test_one.py")

    def check(self, *arguments, status=0):
        process = subprocess.run(
            [sys.executable, str(RUNNER), "--check", "--top", "."] + list(arguments),
            cwd=str(self.project),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        text = process.stderr.decode()
        self.assertEqual(process.returncode, status, text)
        self.assertEqual(process.stdout, b"")
        return text.splitlines()

    def test_what_is_there(self):
        for arguments in (
            ["--start", "pkg"],
            ["pkg"],
            ["pkg.test_one.A.test_x"],
            ["pkg/test_one.py", "-v", "-k", "x"],
            ["--within", "--start", "pkg", "no.such.name"],
        ):
            self.assertEqual(self.check(*arguments), [])

    def test_what_is_not_there_is_one_line(self):
        for arguments in (
            ["--start", "other"],
            ["--start", "test"],
            ["--start", "pkg", "--pattern", "check_*"],
            ["--start", "pkg", "--exclude", "pkg/*"],
            ["pkg.test_one.A.test_y"],
            ["pkg.test_one.B"],
            ["other"],
            ["./program"],
            ["a\nb"],
        ):
            self.assertEqual(len(self.check(*arguments, status=2)), 1, arguments)

    def test_modules_that_run_at_import(self):
        for text in ("import os; os._exit(1)", "raise SystemExit(2)", "import nothing_there"):
            self.write("pkg/test_two.py", text)
            process = subprocess.run(
                [sys.executable, str(RUNNER), "--check", "pkg.test_two.A"],
                cwd=str(self.project),
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                timeout=60,
            )
            # Only 2 says that there is nothing.
            self.assertIn(process.returncode, (0, 1), text)

    def test_tests_of_a_load_protocol_need_no_file(self):
        self.write("own/__init__.py", "def load_tests(loader, tests, pattern): return tests\n")
        self.assertEqual(self.check("--start", "own"), [])

if __name__ == "__main__":
    unittest.main()
