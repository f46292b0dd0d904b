"""Tests of the runner's --shard and --durations: the parts of a run are the run."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

from test_run_unittests import RUNNER, RunnerTestCase

sys.path.insert(0, str(RUNNER.parent))
import run_unittests

# Six classes of seven tests in three modules; one module has a fixture of its own.
MODULES = {
    "test_one.py": """
        import unittest
        class A(unittest.TestCase):
            def test_1(self): pass
            def test_2(self): pass
        class B(unittest.TestCase):
            def test_1(self): pass
        class C(unittest.TestCase):
            def test_1(self): pass
    """,
    "test_two.py": """
        import unittest
        def setUpModule():
            global ready
            ready = True
        class A(unittest.TestCase):
            def test_1(self): self.assertTrue(ready)
        class B(unittest.TestCase):
            def test_1(self): self.assertTrue(ready)
    """,
    "test_zoo.py": """
        import unittest
        class Z(unittest.TestCase):
            @classmethod
            def setUpClass(cls): cls.ready = True
            def test_1(self): self.assertTrue(self.ready)
    """,
}


class ShardTestCase(RunnerTestCase):
    def setUp(self):
        super().setUp()
        for name, text in MODULES.items():
            self.write(name, text)

    def part(self, number, shards, *arguments, status=0):
        """The names of one part's tests, in order."""
        self.events_file.write_bytes(b"")
        self.run_tests("--shard", "{}/{}".format(number, shards), *arguments, status=status)
        self.assert_complete()
        return [name for name, _ in self.finished()]

    def parts(self, shards, *arguments, **keywords):
        """All parts; each test is in one of them, in the order of the whole run."""
        self.events_file.write_bytes(b"")
        self.run_tests(*[word for word in arguments if word != "--"], **keywords)
        self.assertNotIn("all", self.events[0])
        whole = [name for name, _ in self.finished()]
        parts = []
        counts = 0
        for number in range(1, shards + 1):
            part = self.part(number, shards, *arguments, **keywords)
            self.assertEqual(part, [name for name in whole if name in part])
            self.assertEqual(self.events[0]["all"], len(whole))
            self.assertEqual(self.events[0]["tests"], len(part))
            counts += len(part)
            parts.append(part)
        self.assertEqual(counts, len(whole))
        self.assertEqual({name for part in parts for name in part}, set(whole))
        return parts

    def durations(self, text):
        path = self.project.parent / "durations.json"
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return ["--class-durations", str(path)]


class Splitting(ShardTestCase):
    def test_every_number_of_parts(self):
        for shards in (1, 3, 5):
            with self.subTest(shards=shards):
                parts = self.parts(shards)
                self.assertTrue(all(parts))

    def test_many_numbers_of_parts(self):
        units = []
        for number in range(40):
            unit = run_unittests.Unit("m.C{}".format(number))
            unit.add(unit.name, number % 5 + 1)
            units.append(unit)
        names = {unit.name for unit in units}
        for recorded in ({}, {"m.C{}".format(n): n / 7 for n in range(0, 40, 3)}):
            for shards in range(1, 60):
                parts = run_unittests.split(units, recorded, shards)
                self.assertEqual(len(parts), shards)
                self.assertEqual(sum(map(len, parts)), len(units))
                self.assertEqual(set().union(*parts), names)
                self.assertEqual(sum(not part for part in parts), max(0, shards - 40))
                # The order in which they were found decides nothing.
                self.assertEqual(run_unittests.split(units[::-1], recorded, shards), parts)

    def test_what_the_first_part_does_besides_counts(self):
        units = []
        for name in "ABCD":
            units.append(run_unittests.Unit(name))
            units[-1].add(name, 1)
        recorded = dict.fromkeys("ABCD", 10)
        parts = run_unittests.split(units, dict(recorded, **{"": 15}), 2)
        self.assertEqual([len(part) for part in parts], [1, 3])

    def test_a_module_with_a_fixture_stays_together(self):
        for shards in (2, 5):
            for part in self.parts(shards):
                self.assertIn(sum(name.startswith("test_two.") for name in part), (0, 2))

    def test_more_parts_than_units(self):
        parts = self.parts(9)
        self.assertEqual(sum(not part for part in parts), 4)
        # The last one run is one of the empty ones.
        self.assertEqual(self.events[0]["tests"], 0)
        self.assertEqual(sum(self.events[-1]["counts"].values()), 0)

    def test_no_test_at_all_is_not_an_empty_part(self):
        self.assertEqual(self.part(1, 2, "-k", "no such test", status=5), [])
        self.assertEqual(self.events[0]["all"], 0)

    def test_without_durations_the_number_of_tests_counts(self):
        self.assertEqual(
            self.parts(2),
            [
                ["test_one.A.test_1", "test_one.A.test_2", "test_one.B.test_1"]
                + ["test_zoo.Z.test_1"],
                ["test_one.C.test_1", "test_two.A.test_1", "test_two.B.test_1"],
            ],
        )

    def test_the_longest_first(self):
        recorded = {
            "test_one.A": 4,
            "test_one.B": 3,
            "test_one.C": 2.5,
            "test_two.A": 1,
            "test_two.B": 1,
            "test_zoo.Z": 7,
            "test_gone.A": 1000,
        }
        # 7 + 2.5 against 4 + 3 + 2.
        self.assertEqual(
            self.parts(2, *self.durations(recorded)),
            [
                ["test_one.C.test_1", "test_zoo.Z.test_1"],
                ["test_one.A.test_1", "test_one.A.test_2", "test_one.B.test_1"]
                + ["test_two.A.test_1", "test_two.B.test_1"],
            ],
        )

    def test_an_unknown_class_takes_the_mean_of_the_known_tests(self):
        # Three known tests take 2 s each, so test_one.A takes 4 and the others 2: the
        # module test_two, of which one class is known, 6.
        recorded = {"test_one.B": 1, "test_one.C": 1, "test_two.A": 4}
        self.assertEqual(
            self.parts(3, *self.durations(recorded))[:2],
            [
                ["test_two.A.test_1", "test_two.B.test_1"],
                ["test_one.A.test_1", "test_one.A.test_2"],
            ],
        )

    def test_classes_that_took_no_time_are_spread_as_well(self):
        names = ["test_one.A", "test_one.B", "test_one.C", "test_two.A", "test_two.B"]
        recorded = dict.fromkeys(names + ["test_zoo.Z"], 0)
        sizes = [len(part) for part in self.parts(2, *self.durations(recorded))]
        self.assertEqual(sorted(sizes), [3, 4])

    def test_a_module_that_cannot_be_imported_fails_once(self):
        self.write("test_bad.py", "import no_such_module\n")
        self.write("test_worse.py", "this is no Python\n")
        failing = 0
        for number, status in ((1, 0), (2, 0), (3, 1), (4, 1)):
            names = self.part(number, 4, status=status)
            failing += names.count("test_bad") + names.count("test_worse")
        self.assertEqual(failing, 2)

    def test_suites_of_load_tests_keep_their_class(self):
        self.write(
            "test_own.py",
            """
            import unittest
            class Suite(unittest.TestSuite):
                def run(self, result, debug=False):
                    print("suite of", self.countTestCases())
                    return super().run(result, debug)
            class A(unittest.TestCase):
                def test_1(self): pass
            class B(unittest.TestCase):
                def test_1(self): pass
            def load_tests(loader, tests, pattern):
                return Suite([B("test_1"), A("test_1"), Suite([B("test_1")])])
            """,
        )
        parts = [self.part(number, 2, "test_own") for number in (1, 2)]
        # Both mentions of B are one unit, and the larger.
        self.assertEqual(parts, [["test_own.B.test_1"] * 2, ["test_own.A.test_1"]])
        self.assertIn("suite of 1", self.text)

    def test_names_and_options(self):
        self.assertEqual(
            self.parts(2, "--", "test_one", "test_two.B"),
            [
                ["test_one.A.test_1", "test_one.A.test_2", "test_two.B.test_1"],
                ["test_one.B.test_1", "test_one.C.test_1"],
            ],
        )
        self.parts(2, "-k", "test_1")

    def test_wrong_numbers(self):
        for word in ("0/2", "3/2", "1", "1/0", "-1/2", "1/2/3", "a/b", "1/99999", ""):
            with self.subTest(word):
                self.run_tests("--shard=" + word, status=2)
                self.assertEqual(self.events, [])

    def test_many_classes(self):
        lines = ["import unittest"]
        for number in range(200):
            lines.append("class C{}(unittest.TestCase):".format(number))
            for test in range(number % 7 + 1):
                lines.append("    def test_{}(self): pass".format(test))
        self.write("test_many.py", "\n".join(lines))
        recorded = {"test_many.C{}".format(n): n % 13 / 10 for n in range(0, 200, 2)}
        durations = self.durations(recorded)
        for shards in (4, 7):
            parts = self.parts(shards, *(durations + ["--", "test_many"]))
            sizes = [len(part) for part in parts]
            self.assertLess(max(sizes), 2 * min(sizes))


class HostileDurations(unittest.TestCase):
    """In this process, because there are many."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "durations.json")

    def read(self, data, path=None):
        if isinstance(data, str):
            data = data.encode()
        if data is not None:
            with open(self.path, "wb") as file:
                file.write(data)
        self.said = io.StringIO()
        with contextlib.redirect_stderr(self.said):
            return run_unittests.read_durations(path or self.path)

    def check_unusable(self, data, says="", path=None):
        self.assertEqual(self.read(data, path), {})
        path = path or self.path
        self.assertIn("cannot use the durations in " + path, self.said.getvalue())
        self.assertIn(says, self.said.getvalue())
        self.assertEqual(self.said.getvalue().count("\n"), 1)

    def test_good_file(self):
        recorded = self.read('{"test_one.A": 1.5, "test_one.B": 0, "x": 1000000}')
        self.assertEqual(recorded, {"test_one.A": 1.5, "test_one.B": 0.0, "x": 1e6})
        self.assertEqual(self.said.getvalue(), "")

    def test_files_that_cannot_be_used(self):
        texts = ("", "{", "[]", "7", "null", "\0", "[" * 100000, '{"a": 1', "9" * 5000)
        for data in texts + (b'{"test_one.\xff": 1}', b"\xff\xfe"):
            with self.subTest(data[:10]):
                self.check_unusable(data)

    def test_missing_file(self):
        self.check_unusable(None, path="/no/such/file")

    def test_no_file(self):
        self.check_unusable(None, path="/")
        self.check_unusable(None, "not a regular file", path="/dev/zero")

    def test_huge_file(self):
        with open(self.path, "wb") as file:
            file.truncate(1 << 40)
        self.check_unusable(None, "more than 16777216 bytes")

    def test_values_that_are_no_seconds(self):
        values = ("NaN", "Infinity", "-Infinity", "-1", "1e300", "1" + "0" * 400, "true")
        for value in values + ("null", '"1"', "[]", "{}"):
            with self.subTest(value):
                recorded = self.read('{"test_one.A": 2, "test_one.B": ' + value + "}")
                self.assertEqual(recorded, {"test_one.A": 2.0})
                self.assertIn("1 of the durations in ", self.said.getvalue())


if __name__ == "__main__":
    unittest.main()
