#!/bin/sh
# `-c .../cache/apt/<suite>/apt.conf -q update`, or `download NAME=VERSION...`. A suite is
# a folder of `$HOME/archive`, with its packages and what is said about them.
suite=$HOME/archive/$(basename "$(dirname "$2")")
shift 2
[ "$1" != -q ] || shift
echo "$1 ${suite##*/}" >>"$HOME/apt.log"
if [ -e "$HOME/away" ]; then
	cat "$HOME/away" >&2
	exit 100
fi
if [ ! -d "$suite" ]; then
	echo "E: The repository 'x' does not have a Release file." >&2
	exit 100
fi
[ "$1" = download ] || exit 0
shift
for word; do
	cp "$suite/${word%%=*}.deb" "${word%%=*}_${word#*=}_amd64.deb" || exit 100
done
