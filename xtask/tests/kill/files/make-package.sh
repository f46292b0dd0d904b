# Installs modules or builds one, as far as packaging looks.
for word; do case $word in
INSTALL_MOD_PATH=*) modules=${word#*=}/lib/modules/RELEASE ;;
M=*) directory=${word#*=} ;;
esac; done
if [ -n "$directory" ]; then
	printf 'vermagic=%s ' RELEASE >"$directory/proof.ko"
	exit
fi
mkdir -p "$modules/kernel/fs"
echo module >"$modules/kernel/fs/a.ko"
for list in dep devname builtin; do echo list >"$modules/modules.$list"; done
ln -s /nowhere "$modules/build"
