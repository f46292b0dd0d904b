#!/bin/sh
# Where the host's source lists are.
echo "MAIN='/none'"
echo "PARTS='$HOME/apt'"
