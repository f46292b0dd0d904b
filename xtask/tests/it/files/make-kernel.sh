#!/bin/sh
# What kbuild leaves of a kernel with two modules, as far as anybody looks at it.
echo "$@" >>"$HOME/make.log"
[ ! -e "$HOME/make-fails" ] || { echo "fs/a.c:1:1: error: it does not compile" >&2; exit 2; }
env | grep -E '^(LC_ALL|TZ|ARCH|KCFLAGS|MAKEFLAGS|KCONFIG_ALLCONFIG)=' | sort >"$HOME/make.env"
tree=$2
version=
for argument; do
	case $argument in
	O=*) tree=${argument#O=} ;;
	LOCALVERSION=*) version=6.12.5${argument#LOCALVERSION=} ;;
	esac
done
cd "$tree" || exit 9
case $* in
*"-s kernelrelease")
	echo "$version"
	exit
	;;
*allnoconfig)
	sed 's/^\(CONFIG_[A-Za-z0-9_]*\)=n$/# \1 is not set/' "$KCONFIG_ALLCONFIG" >.config
	exit
	;;
esac
mkdir -p include/config arch/x86/boot fs/b
echo 6.12.5-mine+ >include/config/kernel.release
echo image >arch/x86/boot/bzImage
printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\0\0\76\0' >vmlinux
printf '%s\n' fs/a.o fs/b/b.o >modules.order
printf '%s\n' kernel/fs/c.ko >modules.builtin
echo module >fs/a.ko
echo module >fs/b/b.ko
