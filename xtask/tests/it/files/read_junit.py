"""Reads JUnit XML with a parser that is not ours; each test case in a line."""
import sys, xml.etree.ElementTree as tree
for suite in tree.fromstring(sys.stdin.buffer.read()).iter('testsuite'):
    cases = list(suite.iter('testcase'))
    kinds = [child.tag for case in cases for child in case]
    print(suite.get('name'), *(suite.get(name) for name in ('tests', 'failures', 'errors', 'skipped')))
    assert int(suite.get('tests')) == len(cases)
    for name, tag in ('failures', 'failure'), ('errors', 'error'), ('skipped', 'skipped'):
        assert int(suite.get(name)) == kinds.count(tag)
    for case in cases:
        print(' ', case.get('classname'), case.get('name'), case.get('time'))
        for child in case:
            print('   ', child.tag, ascii(child.get('type')), ascii(child.get('message')), ascii(child.text))
