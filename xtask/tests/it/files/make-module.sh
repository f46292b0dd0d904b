#!/bin/sh
# Is at work where headers are, and makes a module of what it is told to; the Makefile
# there must include one that is there.
read -r _ included <"$2/Makefile" && [ -e "$included" ] || exit 9
[ -e "$2/scripts/fixdep" ] || exit 8
echo "$2" >>"$HOME/make.log"
for word; do
	case $word in M=*) : >"${word#M=}/mine.ko" ;; esac
done
