# Goes below the overlay: through the root's own 9p mount, which must not be there
# to be had, and through a second share of the directory, which is QEMU's to guard.
mkdir /tmp/raw /tmp/second
mount -t 9p -o trans=virtio,version=9p2000.L,rw /dev/root /tmp/raw && exit 9
mount -o remount,rw /
mount -t 9p -o trans=virtio,version=9p2000.L,rw second /tmp/second || exit 8
mount -o remount,rw /tmp/second
cd /tmp/second || exit 7
[ "$(cat file)" = original ] || exit 6
try() { "$@" && echo "could: $*"; }
try sh -c 'echo changed > file'
try sh -c 'echo new > new'
try rm removed
try mv moved elsewhere
try chmod 777 file
try ln file link
try ln -s file symlink
try mkdir sub
try touch file
try truncate -s 0 file
exit 0
