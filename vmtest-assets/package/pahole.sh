# The wrapper of pahole. The kernel's scripts give it a bare `-j` (pahole 1.22 and newer), with which the
# order of types in BTF is that in which threads get ready: another one in every build. Versions that
# can keep the order do so only when asked in ways that differ, so threads are switched off for all.
#
# vmtest puts an interpreter line in front of this text, and sets:
#
#   vmtest_pahole  the program
#   vmtest_flags   arguments for when it encodes
#
# shellcheck shell=dash
# The two variables of vmtest.
# shellcheck disable=SC2154

encode=
for argument do
	shift
	case $argument in
	-j | -j[0-9]* | --jobs | --jobs=*) continue ;;
	-J | --btf_encode | --btf_encode_detached | --btf_encode_detached=*) encode=1 ;;
	esac
	set -- "$@" "$argument"
done
# shellcheck disable=SC2086 # Several words.
exec "$vmtest_pahole" ${encode:+$vmtest_flags} "$@"
