#!/bin/sh
# `-c .../cache/apt/<suite>/apt.conf pkgnames PREFIX`, or `show NAME...`.
suite=$HOME/archive/$(basename "$(dirname "$2")")
shift 2
command=$1
shift
case $command in
pkgnames)
	cd "$suite" && find . | sed -n "s/^.\/\($1.*\)\.deb$/\1/p"
	;;
show)
	for name; do
		cat "$suite/$name.show" || status=100
	done
	exit "${status:-0}"
	;;
esac
