# As makefiles use `$(PYTHON)` and scripts `$PYTHON`: words, not one program.
cd "$1" || exit 9
echo input | $PYTHON -c '
import os, sys
print(sys.argv[1:], os.getcwd() == sys.argv[1], os.uname().release)
import beside
print(sys.stdin.read(), end="")
print("error", file=sys.stderr)
sys.exit(3)' "$1" "two words" ''
echo "status $?"
