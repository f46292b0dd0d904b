# shellcheck disable=SC2010,SC2012
# What is below the guest's own mounts, read directly: files of `/proc` have no size.
mkdir /tmp/below && mount --bind / /tmp/below && cd /tmp/below || exit 9
echo processes "$(ls proc | grep -c '[0-9]')"
echo system "$(ls sys | wc -l)"
echo disks "$(ls -l dev | grep -c '^b')"
for file in proc/[0-9]*/environ proc/self/environ; do
	busybox dd "if=$file" iflag=direct bs=256k 2>/dev/null
done | tr '\0' '\n' | grep -a hidden-
echo end
