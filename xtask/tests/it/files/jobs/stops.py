from terminal import is_raw, shell, type, until, wait_for

shell('stty -echo; stty echo; "$@" & wait $!; echo stopped $?; fg; echo ended $?')
# By SIGTTOU.
until(b"stopped 150")
until(b"ready")
wait_for(is_raw)
type(b"\x01x")
until(b"ended 130")
assert not is_raw()
