#!/usr/bin/env python3
"""Runs unittest tests, and tells the host about each one as it happens.

    run_unittests.py [--start DIR] [--top DIR] [--pattern GLOB] [--exclude GLOB]...
                     [--shard K/N] [--class-durations FILE] [--within]
                     [--count] [--check] [--] [UNITTEST OPTIONS] [NAME]...

Without a NAME, the tests below --start are discovered the way that
``python3 -m unittest discover`` does it. A NAME (module, class or method with
dots, a file, or a directory) replaces discovery; --within, it picks some of the
discovered tests instead. The usual text goes to standard output. With --count,
nothing is run. With --check, which is for the host, nothing is run either, and only
what a NAME is in is imported: the status is 2, with one line on standard error, if
nothing can be found in this way.

With --shard, only the K-th of N parts of these tests is run. Every part is
found by the same rule from the same tests, so that N calls run each test once.
What shares a fixture stays together: a module with ``setUpModule`` or
``tearDownModule``, else a class. --class-durations names a JSON object of the seconds
that classes took, ``{"package.module.Class": 1.5}``, by which the parts are made
to take the same time.

Events go to the file that the environment variable VMTEST_EVENTS names (in a
virtual machine: the device node of a virtio port), one JSON object per line:

    {"v":1,"event":"run-started","tests":2}
    {"v":1,"event":"test-started","id":"tests.test_x.TestX.test_y"}
    {"v":1,"event":"test-finished","id":…,"outcome":…,"seconds":0.01,
     "description":…,"reason":…,"traceback":…,
     "subtests":[{"subtest":"(n=1)","outcome":…,"reason":…}],"more_subtests":2}
    {"v":1,"event":"runner-died","status":139,"id":…}
    {"v":1,"event":"run-finished","counts":{"passed":1,…},"seconds":0.02}

with the outcomes of OUTCOMES; ``run-started`` of a part has ``all`` as well, the
number of tests before they were split: the parts of one run agree on it, and
their ``tests`` add up to it. Every test of ``run-started`` gets exactly one
``test-finished`` unless the run is cut short, also when a fixture of its class
or module fails or skips. What belongs to no test (``tearDownClass``) gets one
under a name of its own, so that ``counts`` always has the sum of all lines.
``kernel_time`` is the time of the last record in the kernel's log when a test ended, in
microseconds, if there was a new one; only in a virtual machine.
``subtests`` lists those that did not pass, the first MOST_SUBTESTS of them;
``reason`` and ``traceback`` have their names too. ``description`` is the first
line of the test's doc string; a test that passed comes without it.

A test that ends the process (a signal, ``os._exit``) costs itself only. What has
been done is in a journal beside the events, ``$VMTEST_EVENTS.journal``. Who has
started us and finds something in it when we have ended adds a line with the
status, ``{"status":139}`` (128+N for signal N), and starts us again with the same
arguments. We tell of that by ``runner-died``, with the test that was running, if
one was, and run the tests that are left; ``counts`` are those of all processes.
After MOST_DEATHS, or if nothing was run since the last one, or with -f, we end
with that status, and without a journal.

The exit status is 0 if all is well, also of a part that got no test because
there are fewer classes than parts; 1 if a test failed, 2 for wrong arguments, 5
if there was no test at all.

One file, Python 3.6 or newer, standard library only: it runs with whatever
interpreter the tests run with.
"""

import argparse
import collections
import fcntl
import fnmatch
import importlib.util
import io
import json
import os
import re
import signal
import stat
import sys
import traceback
import unittest
from time import perf_counter

OUTCOMES = (
    "passed",
    "failed",
    "error",
    "skipped",
    "expected-failure",
    "unexpected-success",
)

# Bounds for the two texts of an event. An assertion about two megabytes of
# memory must not cost the host megabytes per test; both ends tell the most.
LONGEST_TRACEBACK = 48 * 1024
LONGEST_REASON = 4 * 1024

# Bounds for the subtests of one event: characters of each text, and how many are
# listed. A test may have thousands.
LONGEST_SUBTEST = 300
MOST_SUBTESTS = 100

# So many processes may be ended by tests. A suite whose every test crashes the
# interpreter would start one for each, and load all tests each time.
MOST_DEATHS = 20

# Bounds for recorded durations: bytes of the file, seconds of a class.
LONGEST_DURATIONS = 16 * 1024 * 1024
LONGEST_CLASS = 1e6

# How unittest's suites name what failed outside of any test.
FIXTURE = re.compile(r"^(setUp|tearDown)(Class|Module) \((.*)\)$", re.DOTALL)

# Files that unittest takes for modules.
MODULE_FILE = re.compile(r"[_a-z]\w*\.py$", re.IGNORECASE)

# Modules whose import failed, or that raised SkipTest, are tests of these classes.
LOADER_ID = re.compile(r"^unittest\.loader\.(?:_FailedTest|ModuleSkipped)\.")


def bounded(text, longest):
    """`text` as valid Unicode of at most about `longest` characters.

    File names and process output reach Python strings as lone surrogates,
    which no JSON parser has to accept.
    """
    text = str(text)
    if len(text) > longest:
        cut = len(text) - longest
        half = longest // 2
        text = "{}\n[... {} characters left out ...]\n{}".format(
            text[:half], cut, text[-half:]
        )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text, longest):
    """`text` as one line of about `longest` printable characters."""
    text = str(text)
    if len(text) > longest:
        text = text[: longest // 2] + "…" + text[-(longest // 2) :]
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def subtest_name(subtest):
    """What unittest writes behind the test's name: ``[message] (n=1)``."""
    try:
        name = subtest.id()[len(subtest.test_case.id()) :].strip()
    except Exception as error:
        # The repr() of a parameter is the project's own code.
        name = "(description failed with {})".format(type(error).__name__)
    return one_line(name, LONGEST_SUBTEST)


class Events:
    """The file that takes the events. Nothing that it does ends the run."""

    # Tests close "all" descriptors and count on low numbers being free.
    LOWEST_DESCRIPTOR = 500

    def __init__(self, path, journal=None):
        # Takes a short form of the same events; see Past.
        self._journal = journal
        # Absolute, because tests change directory.
        self._path = os.path.abspath(path) if path else None
        self._descriptor = -1
        self._identity = None
        # A test that forks has the whole of unittest in its child as well. If
        # an exception gets that far there, the child must not report.
        self._process = os.getpid()
        if self._path:
            try:
                self._open()
            except OSError as error:
                sys.stderr.write("cannot report events to {}: {}\n".format(path, error))
                self._path = None

    def _open(self):
        # No O_CREAT: a device that is missing must not become a file.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            self._descriptor = fcntl.fcntl(
                descriptor, fcntl.F_DUPFD_CLOEXEC, self.LOWEST_DESCRIPTOR
            )
        except (AttributeError, OSError):
            # A limit of open files below our number.
            self._descriptor, descriptor = descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        self._identity = self._look()

    def _look(self):
        try:
            status = os.fstat(self._descriptor)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_rdev

    def send(self, event, **fields):
        if self._path is None or os.getpid() != self._process:
            return
        line = {"v": 1, "event": event}
        line.update(fields)
        # An empty line is nothing. With one in front, what somebody else has left
        # there without an end does not take this event with it.
        text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
        data = ("\n" + text + "\n").encode("utf-8", "backslashreplace")
        try:
            # A test may have closed our descriptor, and its number may by now
            # belong to a file that is none of our business.
            if self._look() != self._identity:
                self._open()
            # A port takes 32 KiB at a time.
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # The host decides what missing events mean.
            pass
        if self._journal is not None:
            known = {key: fields[key] for key in ("id", "outcome") if key in fields}
            self._journal.send(event, **known)


class KernelLog:
    """When the last record came into the kernel's log, in the kernel's own microseconds."""

    def __init__(self, path):
        self._descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._descriptor = fcntl.fcntl(
                descriptor, fcntl.F_DUPFD_CLOEXEC, Events.LOWEST_DESCRIPTOR
            )
            os.close(descriptor)
            # The records until now are nobody's.
            os.lseek(self._descriptor, 0, os.SEEK_END)
            self._identity = self._look()
        except (AttributeError, OSError):
            self._identity = None

    def _look(self):
        status = os.fstat(self._descriptor)
        return status.st_ino, status.st_rdev

    def time(self):
        """Of the records since the last call; None without any."""
        time = None
        try:
            # Tests close descriptors, and their numbers become other files.
            while self._identity and self._look() == self._identity:
                try:
                    # Documentation/ABI/testing/dev-kmsg: one record, `level,number,time,…;text`.
                    record = os.read(self._descriptor, 8192)
                    time = int(record.split(b";", 1)[0].split(b",")[2])
                except BrokenPipeError:
                    # Overwritten; the next read gives the oldest one that is left.
                    continue
        except (OSError, IndexError, ValueError):
            # EAGAIN: there are no more.
            pass
        return time


class Past:
    """What the processes of a run have done before, according to their journal."""

    def __init__(self):
        # How often each test has been done with, and the outcomes.
        self.done = collections.Counter()
        self.counts = dict.fromkeys(OUTCOMES, 0)
        # Of the processes before: how often one died, and of the last one how it
        # ended, in which test, and whether it did anything.
        self.deaths = 0
        self.status = 0
        self.killer = None
        self.progress = False
        self._running = None

    def read(self, file):
        for line in file:
            try:
                line = json.loads(line.decode())
                event, name, status = line.get("event"), line.get("id"), line.get("status")
            except (ValueError, AttributeError):
                # Empty, or by somebody else.
                continue
            if type(status) is int:
                self._died(status)
            elif event == "run-started":
                self.progress = False
            elif event == "test-started":
                self._running = name
            elif event == "test-finished" and line.get("outcome") in self.counts:
                self.counts[line["outcome"]] += 1
                self.done[name] += 1
                self.progress = True
                if self._running == name:
                    self._running = None
            elif event == "runner-died":
                self.progress = False

    def _died(self, status):
        self.deaths += 1
        self.status = status
        self.killer, self._running = self._running, None
        if self.killer is not None:
            # It is not run again.
            self.done[self.killer] += 1
            self.progress = True

    def goes_on(self):
        """Whether to run what is left. An interrupt is meant for the whole run."""
        interrupted = self.status == 128 + signal.SIGINT
        return self.progress and self.deaths <= MOST_DEATHS and not interrupted

    def leave_out(self, suite):
        """Takes what has been done out of a suite."""
        done = collections.Counter(self.done)

        def wanted(test):
            names = [identifier(case) for case in cases([test])]
            if not names or any(done[name] < 1 for name in names):
                return True
            done.subtract(names)
            return False

        prune(suite, wanted)


class Loader(unittest.TestLoader):
    """The standard loader with -k on every Python and with --exclude."""

    def __init__(self, patterns, excluded, top):
        super().__init__()
        self._patterns = [
            pattern if "*" in pattern else "*" + pattern + "*" for pattern in patterns
        ]
        self._excluded = excluded
        self._top = os.path.abspath(top)

    def getTestCaseNames(self, testCaseClass):
        names = super().getTestCaseNames(testCaseClass)
        if not self._patterns:
            return names
        prefix = "{}.{}.".format(testCaseClass.__module__, testCaseClass.__qualname__)
        return [
            name
            for name in names
            if any(
                fnmatch.fnmatchcase(prefix + name, pattern)
                for pattern in self._patterns
            )
        ]

    def _match_path(self, path, full_path, pattern):
        relative = os.path.relpath(full_path, self._top)
        if any(fnmatch.fnmatchcase(relative, glob) for glob in self._excluded):
            return False
        return fnmatch.fnmatch(path, pattern)


def identifier(test):
    """The name of a test; that of the module if its import failed."""
    return bounded(LOADER_ID.sub("", test.id()), LONGEST_REASON)


def cases(suite):
    """All tests of a suite, in the order in which they will run."""
    for test in suite:
        if isinstance(test, unittest.TestCase) or not hasattr(test, "__iter__"):
            yield test
        else:
            yield from cases(test)


def leaves(suite):
    """What a suite runs one by one: its tests, and what only looks like a suite."""
    for test in suite:
        if isinstance(test, unittest.BaseTestSuite):
            yield from leaves(test)
        else:
            yield test


class Unit:
    """Tests that have to run in one process, because they share fixtures."""

    def __init__(self, name):
        self.name = name
        # Number of tests by class, as the durations name it.
        self.classes = {}

    def add(self, name, tests):
        self.classes[name] = self.classes.get(name, 0) + tests

    def tests(self):
        return sum(self.classes.values())


def unit_and_class(test):
    """The names of the unit and of the class that a leaf of a suite belongs to."""
    if not isinstance(test, unittest.TestCase):
        # Something of the project's own; its first test speaks for it.
        test = next(cases([test]), test)
    if hasattr(test, "id") and LOADER_ID.match(test.id()):
        # All of these have the same class, and nothing else in common.
        return identifier(test), identifier(test)
    cls = type(test)
    module = sys.modules.get(cls.__module__)
    name = "{}.{}".format(cls.__module__, cls.__qualname__)
    if hasattr(module, "setUpModule") or hasattr(module, "tearDownModule"):
        return cls.__module__, name
    return name, name


def split(units, durations, shards):
    """Distributes units; one set of names for each shard.

    The longest first, each to the shard with the least to do so far. Where there is
    nothing to choose, names and numbers decide: every shard has to find the same.
    The empty name has what the first shard does besides.
    """
    known = [
        (durations[name], tests)
        for unit in units
        for name, tests in unit.classes.items()
        if name in durations
    ]
    tests = sum(count for _, count in known)
    each = sum(seconds for seconds, _ in known) / tests if tests else 1.0

    def seconds(unit):
        return sum(
            durations.get(name, each * tests) for name, tests in unit.classes.items()
        )

    loads = [(0.0, 0, number) for number in range(shards)]
    loads[0] = (durations.get("", 0.0), 0, 0)
    names = [set() for _ in range(shards)]
    for unit in sorted(units, key=lambda unit: (-seconds(unit), unit.name)):
        load, tests, number = min(loads)
        names[number].add(unit.name)
        loads[number] = (load + seconds(unit), tests + unit.tests(), number)
    return names


def prune(suite, wanted):
    """Takes all but the wanted tests out of a suite, in place: its class may be the
    project's own, and its order stays."""
    kept = []
    for test in suite:
        if isinstance(test, unittest.BaseTestSuite):
            prune(test, wanted)
            kept.append(test)
        elif wanted(test):
            kept.append(test)
    suite._tests = kept


def take_shard(suite, number, shards, durations):
    """Leaves the tests of shard `number` (from 1) of `shards` in a suite."""
    units = {}
    for test in leaves(suite):
        name, cls = unit_and_class(test)
        units.setdefault(name, Unit(name)).add(cls, test.countTestCases())
    names = split(list(units.values()), durations, shards)[number - 1]
    prune(suite, lambda test: unit_and_class(test)[0] in names)


def read_durations(path):
    """The recorded seconds by class. What cannot be used is not known, and said."""
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("not a regular file")
            data = file.read(LONGEST_DURATIONS + 1)
        if len(data) > LONGEST_DURATIONS:
            raise ValueError("more than {} bytes".format(LONGEST_DURATIONS))
        recorded = json.loads(data.decode())
        if not isinstance(recorded, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        sys.stderr.write("cannot use the durations in {}: {}\n".format(path, error))
        return {}
    durations = {}
    for name, seconds in recorded.items():
        # The comparison is false for NaN.
        if type(seconds) in (int, float) and 0 <= seconds <= LONGEST_CLASS:
            durations[name] = float(seconds)
    if len(durations) < len(recorded):
        sys.stderr.write(
            "{} of the durations in {} are no seconds\n".format(
                len(recorded) - len(durations), path
            )
        )
    return durations


class Pending:
    """The tests that have not been started, by class."""

    def __init__(self, suite):
        self._classes = {}
        for test in cases(suite):
            cls = type(test)
            key = (cls.__module__, cls.__qualname__)
            self._classes.setdefault(key, []).append(identifier(test))

    def started(self, test):
        cls = type(test)
        names = self._classes.get((cls.__module__, cls.__qualname__), ())
        name = identifier(test)
        if name in names:
            names.remove(name)

    def take(self, kind, parent):
        """Takes out those that the fixture of `parent` keeps from running."""
        taken = []
        for (module, name), names in self._classes.items():
            owner = module if kind == "Module" else module + "." + name
            if owner == parent:
                taken += names
                del names[:]
        return taken


# What unittest told about a test: an outcome, the reason in a few words, the
# traceback, and the name of the subtest if it is about one.
Record = collections.namedtuple("Record", "outcome reason text subtest")


class Result(unittest.TextTestResult):
    """The standard result; sends the events as well."""

    # Set before a run.
    events = None
    pending = None
    past = None
    kernel_log = None

    # What a test can be told more than once (a failure and an error of
    # tearDown, several subtests): the first of these that occurred counts.
    _WORST_FIRST = (
        "failed",
        "error",
        "unexpected-success",
        "skipped",
        "expected-failure",
        "passed",
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.counts = dict(self.past.counts)
        self._begin = perf_counter()
        self._recorded = []

    # Of one test.

    def startTest(self, test):
        self._recorded = []
        self.pending.started(test)
        self.events.send("test-started", id=identifier(test))
        self._begin = perf_counter()
        super().startTest(test)

    def stopTest(self, test):
        seconds = perf_counter() - self._begin
        super().stopTest(test)
        # Nothing was recorded: KeyboardInterrupt is on its way through here.
        if self._recorded:
            self._finish(identifier(test), seconds, self._recorded, test)
            self._recorded = []

    def getDescription(self, test):
        try:
            return super().getDescription(test)
        except Exception:
            # The repr() of a subtest's parameter, or a shortDescription().
            if hasattr(test, "test_case"):
                return "{} {}".format(identifier(test.test_case), subtest_name(test))
            return identifier(test)

    def _record(self, outcome, reason=None, err=None, test=None, subtest=None):
        text = None
        if err is not None:
            text = bounded(self._format(err, test), LONGEST_TRACEBACK)
            reason = "".join(traceback.format_exception_only(err[0], err[1])).strip()
            own = isinstance(test, unittest.TestCase) and subtest is None
            if own and LOADER_ID.match(test.id()):
                # The cause stands at the end of a traceback within the message.
                lines = reason.splitlines()
                reason = ": ".join([lines[0]] + lines[1:][-1:])
        name = None if subtest is None else subtest_name(subtest)
        self._recorded.append(Record(outcome, reason, text, name))

    def _format(self, err, test):
        # The method of the standard result leaves out unittest's own frames
        # and adds what -b captured and what --locals asks for.
        try:
            return self._exc_info_to_string(err, test)
        except Exception:
            return "".join(traceback.format_exception(*err))

    def _finish(self, name, seconds, recorded, test=None):
        outcome = min((entry.outcome for entry in recorded), key=self._WORST_FIRST.index)
        fields = {}
        # In the order in which they came; each once.
        reasons = {}
        texts = []
        for entry in recorded:
            # A test that failed may have had errors as well.
            told = {outcome, "error"} if outcome == "failed" else {outcome}
            if entry.outcome in told and entry.reason:
                # Skips are grouped by their reasons, whatever the subtest.
                named = entry.subtest is not None and outcome != "skipped"
                template = "{0.subtest}: {0.reason}" if named else "{0.reason}"
                reasons[template.format(entry)] = None
            if entry.text:
                template = "{0.text}"
                if entry.subtest is not None:
                    template = "{0.outcome} {0.subtest}:\n{0.text}"
                texts.append(template.format(entry))
        if reasons:
            fields["reason"] = bounded("; ".join(reasons), LONGEST_REASON)
        if texts and outcome != "expected-failure":
            fields["traceback"] = bounded("\n".join(texts), LONGEST_TRACEBACK)
        subtests = [entry for entry in recorded if entry.subtest is not None]
        if subtests:
            fields["subtests"] = [
                {
                    "subtest": entry.subtest,
                    "outcome": entry.outcome,
                    "reason": one_line(entry.reason, LONGEST_SUBTEST),
                }
                for entry in subtests[:MOST_SUBTESTS]
            ]
        if len(subtests) > MOST_SUBTESTS:
            fields["more_subtests"] = len(subtests) - MOST_SUBTESTS
        if test is not None and outcome != "passed":
            fields.update(self._describe(test))
        time = self.kernel_log.time()
        if time is not None:
            fields["kernel_time"] = time
        self.counts[outcome] += 1
        self.events.send(
            "test-finished",
            id=name,
            outcome=outcome,
            seconds=round(max(seconds, 0.0), 6),
            **fields
        )

    def _describe(self, test):
        try:
            description = test.shortDescription()
        except Exception:
            # A project's own.
            description = None
        return {"description": one_line(description, LONGEST_SUBTEST)} if description else {}

    # Outcomes.

    def addSuccess(self, test):
        super().addSuccess(test)
        self._record("passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._record("failed", err=err, test=test)

    def addError(self, test, err):
        super().addError(test, err)
        if not self._fixture(test, "error", err=err):
            self._record("error", err=err, test=test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if not self._fixture(test, "skipped", reason=reason):
            # A subtest skips itself alone.
            subtest = test if hasattr(test, "test_case") else None
            self._record("skipped", reason=reason, subtest=subtest)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._record("expected-failure", err=err, test=test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._record("unexpected-success")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            outcome = "failed" if failed else "error"
            self._record(outcome, err=err, test=subtest, subtest=subtest)

    # Fixtures of classes and modules: unittest reports them under a name that
    # is no test, and leaves their tests out without a word.

    def _fixture(self, test, outcome, reason=None, err=None):
        match = None
        if not isinstance(test, unittest.TestCase):
            match = FIXTURE.match(test.id())
        if match is None:
            return False
        when, kind, parent = match.groups()
        keep, self._recorded = self._recorded, []
        self._record(outcome, reason=reason, err=err, test=test)
        (_, reason, text, _), self._recorded = self._recorded[0], keep
        what = test.id() if outcome == "error" else None
        names = self.pending.take(kind, parent) if when == "setUp" else []
        if not names and outcome == "error":
            # Of no test, or of tests that were told about before.
            names, what = [test.id()], None
        for name in names:
            why = "{}: {}".format(what, reason) if what else reason
            record = Record(outcome, why, text, None)
            self._finish(bounded(name, LONGEST_REASON), 0.0, [record])
            # Once is enough.
            text = None
        return True


class Runner(unittest.TextTestRunner):
    """The standard runner; sends the first and the last event."""

    resultclass = Result

    # Number of tests before they were split; None if they were not. Set by main().
    all = None

    def run(self, suite):
        if not Result.past.deaths:
            fields = {} if self.all is None else {"all": self.all}
            Result.events.send("run-started", tests=suite.countTestCases(), **fields)
        Result.past.leave_out(suite)
        Result.pending = Pending(suite)
        begin = perf_counter()
        if Result.past.deaths and not suite.countTestCases():
            # The last test was the one that ended the process.
            result = self._makeResult()
        else:
            result = super().run(suite)
        Result.events.send(
            "run-finished",
            counts=result.counts,
            seconds=round(perf_counter() - begin, 6),
        )
        return result


def module_name(name, top):
    """A file name below `top` as a dotted name; any other name as it is."""
    if name.endswith(".py") and os.path.isfile(name):
        relative = os.path.relpath(os.path.abspath(name), os.path.abspath(top))
        if not relative.startswith(os.pardir + os.sep):
            return relative[: -len(".py")].replace(os.sep, ".")
    return name


def named(test, names, top):
    """Whether one of the names is that of a test, or of what it is in."""
    own = identifier(test)
    for name in names:
        if os.path.isdir(name):
            name = os.path.relpath(os.path.abspath(name), os.path.abspath(top))
            if name == os.curdir:
                return True
            name = name.replace(os.sep, ".")
        name = module_name(name, top)
        # The other way round: the module that cannot be imported stands for its tests.
        if own == name or own.startswith(name + ".") or name.startswith(own + "."):
            return True
    return False


def shard(text):
    """Reads K/N."""
    match = re.match(r"^([0-9]{1,4})/([0-9]{1,4})$", text)
    if match:
        number, shards = map(int, match.groups())
        if 1 <= number <= shards:
            return number, shards
    raise argparse.ArgumentTypeError("{!r} is not K/N with 1 <= K <= N".format(text))


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="run_unittests.py",
        description="Run unittest tests, with events for the host.",
    )
    parser.add_argument("-s", "--start", "--start-directory", default=".")
    parser.add_argument("-t", "--top", "--top-level-directory", default=None)
    parser.add_argument("-p", "--pattern", default="test*.py")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB")
    parser.add_argument("--shard", type=shard, metavar="K/N")
    parser.add_argument("--class-durations", metavar="FILE")
    parser.add_argument("--within", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("-f", "--failfast", action="store_true")
    parser.add_argument("-c", "--catch", action="store_true")
    parser.add_argument("-b", "--buffer", action="store_true")
    parser.add_argument("-k", dest="patterns", action="append", default=[])
    parser.add_argument("--locals", action="store_true")
    parser.add_argument("--durations", type=int, metavar="N")
    parser.add_argument("names", nargs="*", metavar="NAME")
    # "--" may be there twice: once from the host, once from the user.
    return parser.parse_args([word for word in arguments if word != "--"])


def load(options):
    top = options.top if options.top is not None else "."
    loader = Loader(options.patterns, options.exclude, top)
    if options.within or not options.names:
        suite = loader.discover(options.start, options.pattern, options.top)
        if options.names:
            prune(suite, lambda test: named(next(cases([test]), test), options.names, top))
        return suite
    suites = []
    for name in options.names:
        if os.path.isdir(name):
            suites.append(loader.discover(name, options.pattern, options.top))
        else:
            suites.append(loader.loadTestsFromName(module_name(name, top)))
    return unittest.TestSuite(suites)


def discovery_problem(options, top):
    """What keeps discovery from finding anything, seen without an import."""
    start = options.start
    if not os.path.isdir(start):
        try:
            found = importlib.util.find_spec(start)
        except Exception:
            found = None
        # Python has a module `test` of its own.
        places = list(found.submodule_search_locations or [found.origin or ""]) if found else []
        inside = os.path.join(os.path.abspath(top), "")
        if not any(os.path.abspath(place).startswith(inside) for place in places):
            return "tests are looked for in {}, which is no directory".format(start)
        return None
    whole, base = os.path.abspath(start), os.path.abspath(top)
    if whole != base:
        if not whole.startswith(os.path.join(base, "")):
            return "tests are looked for in {}, which is not below the top, {}".format(start, top)
        if not os.path.isfile(os.path.join(start, "__init__.py")):
            return "{} is no package, so that its tests cannot be found: it has no __init__.py".format(start)
    loader = Loader([], options.exclude, top)
    for folder, _, files in os.walk(whole):
        for name in files:
            path = os.path.join(folder, name)
            # A file that cannot be looked into may have any.
            if name == "__init__.py" and "load_tests" in source_of(path, "load_tests"):
                return None
            if MODULE_FILE.match(name) and loader._match_path(name, path, options.pattern):
                return None
    return "no file in {} matches {}".format(start, options.pattern)


def source_of(path, otherwise):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return otherwise


def nearest(name, names):
    """What to say about the known name that is most like one that is not known."""
    import difflib

    found = difflib.get_close_matches(name, sorted(names), 1)
    return " (did you mean {}?)".format(found[0]) if found else ""


def modules_below(top):
    """The dotted names of all modules of the project, some thousands at most."""
    names = set()
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name.isidentifier()]
        for name in files:
            if MODULE_FILE.match(name):
                path = os.path.relpath(os.path.join(folder, name), top)
                names.add(path[: -len(".py")].replace(os.sep, "."))
        if len(names) > 5000:
            break
    return names


def name_problem(name, top):
    """Why nothing can have a name; None if something has, or if only the guest can tell.

    Imports what the name is in: what depends on the kernel to be imported cannot be
    judged here.
    """
    if os.path.isdir(name):
        return None
    dotted = module_name(name, top)
    if dotted == name and (os.sep in name or name.endswith(".py")):
        what = "no file that is below the top" if os.path.exists(name) else "no file"
        return "{} is {}, and no dotted name of a test".format(name, what)
    parts = dotted.split(".")
    if not all(parts):
        return "{} is no dotted name of a test, and no file".format(name)
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError as error:
            if error.name is None or not (module + ".").startswith(error.name + "."):
                # What it imports is not here.
                return None
            found = False
        except BaseException:
            return None
        if found:
            break
    else:
        hint = nearest(dotted, modules_below(top))
        return "there is no test {}: the project has no module {}{}".format(name, parts[0], hint)
    try:
        where = importlib.import_module(module)
    except BaseException:
        return None
    text = source_of(getattr(where, "__file__", None) or "", parts[-1])
    for part in parts[end:]:
        try:
            where = getattr(where, part)
        except Exception:
            if re.search(r"\b{}\b".format(re.escape(part)), text):
                # It may be made on some kernels only.
                return None
            known = [name for name in dir(where) if not name.startswith("__")]
            if isinstance(where, type(os)):
                # A module that is missing in a package.
                known += [known.rpartition(".")[2] for known in modules_below(top)
                          if known.startswith(module + ".")]
            hint = nearest(part, known) or nearest(dotted, modules_below(top))
            return "there is no test {}: {} has no {}{}".format(name, module, part, hint)
    return None


def check(options):
    """Whether the arguments can mean anything, before a machine is started for them."""
    top = options.top if options.top is not None else "."
    problems = []
    if options.within or not options.names:
        problems.append(discovery_problem(options, top))
    if not options.within:
        problems += [name_problem(name, top) for name in options.names]
    problems = [one_line(problem, LONGEST_REASON) for problem in problems if problem]
    for problem in problems[:1]:
        sys.stderr.write(problem + "\n")
    # Without the threads and exit handlers of what was imported.
    sys.stderr.flush()
    os._exit(2 if problems else 0)


class Text(io.TextIOWrapper):
    """A standard stream that never fails, a line at a time.

    Neither for a character, nor because a test has closed its descriptor: then the
    text is gone, but the run goes on, and the events tell of it.
    """

    def __init__(self, stream):
        super().__init__(
            stream.detach(), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )

    def write(self, text):
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self):
        try:
            super().flush()
        except OSError:
            pass


def test(options, events, past):
    """Loads the tests and runs those that have not been run; the exit status."""
    Result.events, Result.past = events, past
    Result.kernel_log = KernelLog(options.kernel_log)
    if options.catch:
        unittest.installHandler()
    more = {}
    if options.durations is not None and sys.version_info >= (3, 12):
        more["durations"] = options.durations
    runner = Runner(
        stream=sys.stdout,
        verbosity=2 if options.verbose else 0 if options.quiet else 1,
        failfast=options.failfast,
        buffer=options.buffer,
        # As unittest's own command does, unless -W or PYTHONWARNINGS says more.
        warnings=None if sys.warnoptions else "default",
        tb_locals=options.locals,
        **more
    )
    suite = load(options)
    loaded = suite.countTestCases()
    if options.count:
        return 0 if loaded else 5
    if options.shard:
        runner.all = loaded
        durations = {}
        if options.class_durations:
            durations = read_durations(options.class_durations)
        take_shard(suite, options.shard[0], options.shard[1], durations)
    result = runner.run(suite)
    if not result.wasSuccessful():
        return 1
    if sum(result.counts.values()):
        return 0
    # An empty part is the host's to judge; it knows the others.
    return 0 if options.shard and loaded else 5


def with_journal(options, path, test):
    """Runs the tests, or those that a process before this one has left; see above."""
    name = path + ".journal"
    past = Past()
    try:
        with open(name, "rb") as file:
            past.read(file)
    except OSError:
        pass
    if past.deaths:
        how = "with status {}".format(past.status)
        if past.status > 128:
            how = "by signal {}".format(past.status - 128)
        where = "" if past.killer is None else " in " + past.killer
        if not past.goes_on():
            os.unlink(name)
            return past.status
        print("the test process ended {}{}; this new one runs the others".format(how, where))
    journal = None
    if not options.failfast:
        try:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            journal = Events(name)
        except OSError:
            # Then a death is the end.
            pass
    events = Events(path, journal)
    if past.deaths:
        fields = {} if past.killer is None else {"id": past.killer}
        events.send("runner-died", status=past.status, **fields)
    process = os.getpid()
    try:
        return test(options, events, past)
    finally:
        # A child that a test has forked comes here too.
        if journal is not None and os.getpid() == process:
            try:
                os.unlink(name)
            except OSError:
                pass


def main(parse=parse, check=check, test=test):
    """With the three of another framework, its main."""
    sys.stdout = sys.__stdout__ = Text(sys.stdout)
    sys.stderr = sys.__stderr__ = Text(sys.stderr)
    options = parse(sys.argv[1:])
    # As with `python3 -m unittest` and `-m pytest`: modules are found from where we
    # stand, and not beside this file.
    sys.path[0] = os.getcwd()
    if options.top is not None:
        top = os.path.abspath(options.top)
        if top not in sys.path:
            sys.path.insert(0, top)
    # Tests that start Python of their own must not report as if they were us.
    path = os.environ.pop("VMTEST_EVENTS", None)
    options.kernel_log = "/dev/kmsg" if path == "/run/vmtest/events" else ""
    if options.check:
        check(options)
    if path is None or options.count:
        return test(options, Events(path), Past())
    return with_journal(options, os.path.abspath(path), test)


if __name__ == "__main__":
    sys.exit(main())
