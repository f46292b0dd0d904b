# The sample suite of frameworks.rs for TAP.
echo TAP version 14
echo 1..5
echo ok 1 - passes
echo ok 2 - skips '# SKIP not here'
case $(uname -r) in
[1-5].* | 6.[0-5].*) echo ok 3 - changes ;;
*) echo not ok 3 - changes ;;
esac
sleep 1
echo ok 4 - waits
printf '# Subtest: nests\n    1..2\n    ok 1 - one\n    ok 2 - two\n'
echo ok 5 - nests
