# Tries to change everything that the two shares and the directory beside them have.
cd "$1" || exit 9
sh -c 'echo changed > "$1/file"' sh "$2" 2>&1 | grep -o 'Read-only file system'
touch "$2/new" 2>&1 | grep -o 'Read-only file system'
mount -o remount,rw "$2" && touch "$2/new" 2>&1 | grep -o 'Read-only file system'
cat "$2/file" && echo
echo changed > other/file && cat other/file
cd "$3" || exit 8
echo written > file && echo new > new && chmod 750 new && chown 12:34 new
mkdir -p sub/deeper && ln -s ../file sub/link && mv file moved
