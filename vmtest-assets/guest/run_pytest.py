#!/usr/bin/env python3
"""Runs pytest, and tells the host about each test as it happens.

    run_pytest.py [--start DIR] [--top DIR] [--pattern GLOB] [--exclude GLOB]...
                  [--shard K/N] [--class-durations FILE] [--within] [--emulated EXPRESSION]
                  [--count] [--check] [-- [PYTEST OPTIONS] [NAME]...]

Options, events, journal and shards are those of run_unittests.py, which lies beside
this file; what follows ``--`` is pytest's. --emulated is an expression of markers as
pytest's -m takes it: where VMTEST_EMULATED is set, other tests are told to be skipped.

A test is called as unittest would call it: the node id ``tests/test_x.py::A::test_y[1]``
is ``tests.test_x.A.test_y[1]``. A NAME may be either of them, also that of a package,
module or class. A module that cannot be imported, or skips itself, is a test of its name;
the other modules run. A test that xfail expects to fail and that passes has passed,
unless the marker is strict: this is what pytest takes it for.

The exit status is pytest's: 0 if all is well, 1 if a test failed, 2 if the run was
interrupted, 3 for an error in pytest or a plugin, 4 for wrong arguments (with --check: 2),
5 if there was no test at all.
"""

import argparse
import fnmatch
import io
import os
import re
import sys
from time import perf_counter

import run_unittests as common

try:
    import pytest
except ImportError as error:
    sys.stderr.write(
        "{} has no pytest ({}): [needs] python in vmtest.toml installs it\n".format(
            sys.executable, error
        )
    )
    sys.exit(2)


def dotted(node):
    """The name that unittest would give to what has this node id."""
    path, bracket, parameters = node.partition("[")
    path, colons, names = path.partition("::")
    if path.endswith(".py"):
        path = path[: -len(".py")]
    name = (path.replace("/", ".") + (colons and ".") + names.replace("::", ".")) or "collection"
    return common.bounded(name + bracket + parameters, common.LONGEST_REASON)


def node_id(name, top):
    """The node id of what has this name; a name that is none of ours as it is."""
    path, bracket, parameters = name.partition("[")
    if "::" in path or os.path.exists(path):
        return name
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        place = os.path.join(top, *parts[:end])
        if os.path.isfile(place + ".py"):
            return "::".join([place + ".py"] + parts[end:]) + bracket + parameters
        if end == len(parts) and os.path.isdir(place):
            return place
    return name


class Markers(dict):
    """The names in an expression of markers: whether a test has them."""

    def __init__(self, item):
        super().__init__()
        self._item = item

    def __missing__(self, name):
        return self._item.get_closest_marker(name) is not None


class Plugin:
    def __init__(self, options, events, past):
        self.options, self.events, self.past = options, events, past
        self.counts = dict(past.counts)
        self.collected = 0
        self._kernel_log = common.KernelLog(options.kernel_log)
        # Told about when the number of tests is known: name, reports.
        self._unimported = []
        self._names = []
        self._reports = []
        self._description = None
        self._begin = perf_counter()

    # Arguments. Here, because only pytest knows which of them are names.

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self, early_config, args):
        options, known = self.options, early_config.known_args_namespace
        nodes = {name: node_id(name, options.top) for name in known.file_or_dir}
        self._names = list(nodes.values())
        if options.within:
            args[:] = [word for word in args if word not in nodes]
        else:
            args[:] = [nodes.get(word, word) for word in args]
        known.file_or_dir = [] if options.within else self._names
        # pytest has a default of its own, `testpaths`.
        if not known.file_or_dir and options.start != os.curdir:
            known.file_or_dir = [options.start]
            args.append(options.start)

    def pytest_ignore_collect(self, config, **paths):
        # One of the two, which depends on pytest's version.
        path = str(paths.get("collection_path") or paths.get("path"))
        path = os.path.relpath(path, self.options.top)
        return any(fnmatch.fnmatchcase(path, glob) for glob in self.options.exclude) or None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session):
        if not self.options.check or self._names and not self.options.within:
            return None
        # Nothing is named that has to be found, but expressions may be wrong.
        session.items = []
        session.config.hook.pytest_collection_modifyitems(
            session=session, config=session.config, items=session.items
        )
        return True

    # Selection.

    def pytest_collectreport(self, report):
        if not report.passed:
            self._unimported.append((dotted(report.nodeid), report))

    def pytest_collection_modifyitems(self, items):
        if self.options.within and self._names:
            names = [dotted(os.path.relpath(name, self.options.top)) for name in self._names]
            begins = tuple(name + mark for name in names for mark in (".", "["))

            def named(own):
                # The other way round: the module that cannot be imported stands for its tests.
                inside = any(name.startswith(own + ".") for name in names)
                return own in names or own.startswith(begins) or inside

            items[:] = [item for item in items if named(dotted(item.nodeid))]
            self._unimported = [one for one in self._unimported if named(one[0])]

    def pytest_collection_finish(self, session):
        items, options = session.items, self.options
        self.collected = len(items) + len(self._unimported)
        if options.count or options.check:
            return
        fields = {}
        if options.shard:
            fields["all"] = self.collected
            self._take_shard(items)
        if not self.past.deaths:
            tests = len(items) + len(self._unimported)
            self.events.send("run-started", tests=tests, **fields)
        done = self.past.done
        left = []
        for item in items:
            name = dotted(item.nodeid)
            if done[name] > 0:
                done[name] -= 1
            elif self._left_out(item):
                reason = "left out where processors are emulated: " + options.emulated
                self._finish(name, "skipped", 0.0, reason=reason)
            else:
                left.append(item)
        items[:] = left
        for name, report in self._unimported:
            if done[name] > 0:
                done[name] -= 1
            else:
                self._reports = [report]
                self._tell(name, 0.0)
        self._begin = perf_counter()

    def _left_out(self, item):
        if not (self.options.emulated and os.environ.get("VMTEST_EMULATED")):
            return False
        return not eval(self.options.emulated, {"__builtins__": {}}, Markers(item))

    def _take_shard(self, items):
        # A module whose fixtures are made once stays together, and so does a class.
        together = {
            item.nodeid.partition("::")[0]
            for item in items
            for fixtures in getattr(item, "_fixtureinfo").name2fixturedefs.values()
            if fixtures[-1].scope in ("module", "package")
        }

        def unit_and_class(node):
            module = node.partition("::")[0]
            cls = dotted(node.partition("[")[0]).rpartition(".")[0]
            return dotted(module) if module in together else cls, cls

        units = {}
        nodes = [item.nodeid for item in items]
        for node in nodes + [report.nodeid + "::" for _, report in self._unimported]:
            unit, cls = unit_and_class(node)
            units.setdefault(unit, common.Unit(unit)).add(cls, 1)
        number, shards = self.options.shard
        file = self.options.class_durations
        durations = common.read_durations(file) if file else {}
        names = common.split(list(units.values()), durations, shards)[number - 1]
        items[:] = [item for item in items if unit_and_class(item.nodeid)[0] in names]
        self._unimported = [one for one in self._unimported if one[0] in names]

    # One test.

    def pytest_runtest_protocol(self, item):
        text = getattr(getattr(item, "obj", None), "__doc__", None) or ""
        self._description = text.strip().split("\n")[0].strip()

    def pytest_runtest_logstart(self, nodeid):
        self._reports = []
        self._test_begin = perf_counter()
        self.events.send("test-started", id=dotted(nodeid))

    def pytest_runtest_logreport(self, report):
        self._reports.append(report)

    def pytest_runtest_logfinish(self, nodeid):
        self._tell(dotted(nodeid), perf_counter() - self._test_begin)

    def _tell(self, name, seconds):
        told = [outcome_and_reason(report) for report in self._reports]
        outcome = min((one for one, _ in told), key=common.Result._WORST_FIRST.index)
        fields = {}
        reasons = []
        texts = []
        subtests = []
        for report, (one, reason) in zip(self._reports, told):
            subtest = subtest_name(report)
            if subtest is not None and one != "passed":
                line = common.one_line(reason, common.LONGEST_SUBTEST)
                subtests.append({"subtest": subtest, "outcome": one, "reason": line})
            if one in (outcome, "error") and reason and outcome != "passed":
                named = subtest is not None and outcome != "skipped"
                reasons.append("{}: {}".format(subtest, reason) if named else reason)
            if one in ("failed", "error", "unexpected-success"):
                texts.append(text_of(report))
        if reasons:
            # Each once, in the order in which they came.
            reason = "; ".join(dict.fromkeys(reasons))
            fields["reason"] = common.bounded(reason, common.LONGEST_REASON)
        if texts:
            fields["traceback"] = common.bounded("\n".join(texts), common.LONGEST_TRACEBACK)
        if subtests:
            fields["subtests"] = subtests[: common.MOST_SUBTESTS]
        if len(subtests) > common.MOST_SUBTESTS:
            fields["more_subtests"] = len(subtests) - common.MOST_SUBTESTS
        if self._description and outcome != "passed":
            fields["description"] = common.one_line(self._description, common.LONGEST_SUBTEST)
        self._finish(name, outcome, seconds, **fields)

    def _finish(self, name, outcome, seconds, **fields):
        time = self._kernel_log.time()
        if time is not None:
            fields["kernel_time"] = time
        self.counts[outcome] += 1
        seconds = round(max(seconds, 0.0), 6)
        self.events.send("test-finished", id=name, outcome=outcome, seconds=seconds, **fields)

    def end(self):
        seconds = round(perf_counter() - self._begin, 6)
        self.events.send("run-finished", counts=self.counts, seconds=seconds)


def outcome_and_reason(report):
    expected = getattr(report, "wasxfail", None)
    if report.skipped:
        if expected is not None:
            return "expected-failure", re.sub("^reason: ", "", expected)
        long = report.longrepr
        reason = long[2] if isinstance(long, tuple) else str(long)
        return "skipped", re.sub("^Skipped: ", "", reason)
    if report.passed:
        return "passed", None
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    if re.match(r"\[XPASS\(strict\)\]|(Failed: )?Unexpected success", text):
        return "unexpected-success", text
    if crash is None:
        # A module that cannot be imported: the cause stands at the end.
        lines = [re.sub("^E +", "", line) for line in text.splitlines() if line.strip()]
        text = lines[-1] if lines else ""
    return "failed" if getattr(report, "when", None) == "call" else "error", text


def subtest_name(report):
    """As unittest writes it: ``[message] (n=1)``. pytest 9 and pytest-subtests have them."""
    context = getattr(report, "context", None)
    if context is None:
        return None
    values = ["{}={}".format(name, value) for name, value in context.kwargs.items()]
    parts = ["[{}]".format(context.msg)] if context.msg else []
    parts += ["({})".format(", ".join(values))] if values else []
    return common.one_line(" ".join(parts) or "(<subtest>)", common.LONGEST_SUBTEST)


def text_of(report):
    parts = [str(report.longrepr)]
    for title, text in report.sections:
        parts.append("--- {} ---\n{}".format(title, text.rstrip("\n")))
    return "\n".join(parts)


def arguments(options):
    """pytest's own arguments."""
    words = ["--rootdir=" + os.path.abspath(options.top), "-p", "no:cacheprovider"]
    if options.pattern != "test*.py":
        words += ["-o", "python_files=" + options.pattern]
    if options.count or options.check:
        words += ["--collect-only", "-q"]
    # As with unittest, a module that cannot be imported does not cost the others.
    return words + ["--continue-on-collection-errors"] + options.words


def run(options, events, past):
    plugin = Plugin(options, events, past)
    status = int(pytest.main(arguments(options), plugins=[plugin]))
    if options.count:
        return 0 if plugin.collected else 5
    if status == 5 and sum(plugin.counts.values()):
        # All was done before, or left out.
        status = 0
    bad = sum(plugin.counts[one] for one in ("failed", "error", "unexpected-success"))
    if status == 1 and not bad and (options.shard or options.within):
        # A module that cannot be imported was another part's, or is not meant.
        status = 0
    if status in (0, 1, 5):
        plugin.end()
    # An empty part is the host's to judge; it knows the others.
    return 0 if status == 5 and options.shard else status


def check(options):
    """Whether the arguments can mean anything, before a machine is started for them."""
    plugin = Plugin(options, common.Events(None), common.Past())
    keep, sys.stderr = sys.stderr, io.StringIO()
    try:
        status = pytest.main(arguments(options), plugins=[plugin])
        said = sys.stderr.getvalue()
    finally:
        sys.stderr = keep
    # What cannot be imported here may be in the guest.
    if status == 4 and not plugin._unimported:
        words = re.search(r"(?m)^(?:ERROR: (?!usage:)|.*: error: )(.*)$", said)
        sys.stderr.write((words.group(1) if words else said.strip()) + "\n")
        sys.stderr.flush()
        os._exit(2)
    # Without the threads and exit handlers of what was imported.
    os._exit(0)


def parse(words):
    end = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="run_pytest.py", description="Run pytest.")
    parser.add_argument("--start", default=os.curdir)
    parser.add_argument("--top", default=os.curdir)
    parser.add_argument("--pattern", default="test*.py")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB")
    parser.add_argument("--shard", type=common.shard, metavar="K/N")
    parser.add_argument("--class-durations", metavar="FILE")
    parser.add_argument("--emulated", metavar="EXPRESSION")
    parser.add_argument("--within", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(words[:end])
    options.words = words[end + 1 :]
    first = re.compile("-x$|--exitfirst$|--maxfail")
    options.failfast = any(first.match(word) for word in options.words)
    return options


if __name__ == "__main__":
    sys.exit(common.main(parse, check, run))
