#!/bin/sh
# `-c .../cache/apt/<suite>/apt.conf -q update`; `download NAME=VERSION...`; `-qq --print-uris
# ... install NAME...`, which names the files of just these; and `-y -q --download-only ...
# install NAME=VERSION...`, which puts them into apt's folder. A suite is a folder of
# `$HOME/archive`, with its packages and what is said about them.
private=$(dirname "$2")
suite=$HOME/archive/${private##*/}
shift 2
mode=
while [ "${1#-}" != "$1" ]; do
	case $1 in
	--*) mode=$1 ;;
	-o) shift ;;
	esac
	shift
done
command=$1
shift
[ "$mode" != --print-uris ] || command=choose
[ "$mode" != --download-only ] || command=fetch
echo "$command ${suite##*/}" >>"$HOME/apt.log"
if [ -e "$HOME/away" ]; then
	cat "$HOME/away" >&2
	exit 100
fi
if [ ! -d "$suite" ]; then
	echo "E: The repository 'x' does not have a Release file." >&2
	exit 100
fi
for word; do
	name=${word%%=*}
	if [ ! -e "$suite/$name.deb" ]; then
		echo "E: Unable to locate package $name" >&2
		exit 100
	fi
	case $command in
	download)
		cp "$suite/$name.deb" "${name}_${word#*=}_amd64.deb" || exit 100
		;;
	choose)
		field() { sed -n "s/^$1: //p" "$suite/$name.show"; }
		echo "'http://a/$name' ${name}_$(field Version)_amd64.deb $(field Size) SHA256:$(field SHA256)"
		;;
	fetch)
		# As a run that is killed there: some files have come.
		if [ "$name" = "$(cat "$HOME/stop" 2>/dev/null)" ]; then
			echo $$ >"$HOME/stopped"
			sleep 600
		fi
		file=${name}_${word#*=}_amd64.deb
		if [ ! -e "$private/archives/$file" ]; then
			echo "fetch $name ${suite##*/}" >>"$HOME/apt.log"
			cp "$suite/$name.deb" "$private/archives/$file" || exit 100
		fi
		;;
	esac
done
