#!/bin/sh
# Says that every header is there, and what it is.
[ "$1" != --version ] || echo "gcc (Test) 12.2.0"
