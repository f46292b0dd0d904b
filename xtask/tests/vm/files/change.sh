# Changes what a program without bad intentions might change.
directory=$1
echo changed > "$directory/file"
echo new > "$directory/new"
rm "$directory/removed"
mv "$directory/moved" "$directory/elsewhere"
chmod 777 "$directory/file"
touch /vmtest-was-here "$HOME/vmtest-was-here"
cat "$directory/file"
