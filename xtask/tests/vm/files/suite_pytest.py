"""The sample suite of frameworks.rs for pytest, of version 9 for its subtests."""

import os
import time

import pytest


def test_passes():
    pass


@pytest.mark.skip(reason="not here")
def test_skips():
    pass


def test_changes():
    assert tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6)


@pytest.mark.slow
def test_waits():
    time.sleep(1)


def test_nests(subtests):
    for n in range(2):
        with subtests.test(n=n):
            pass
