# A program of the sample suite of frameworks.rs for the kernel's runner, by its name.
case ${0##*/} in
skips) exit 4 ;;
changes)
	case $(uname -r) in
	[1-5].* | 6.[0-5].*) ;;
	*) exit 1 ;;
	esac
	;;
waits) sleep 1 ;;
nests) printf 'TAP version 13\n1..2\nok 1 one\nok 2 two\n' ;;
esac
