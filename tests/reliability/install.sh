# For the scripts beside it.

# `as_root COMMAND...`
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# `need COMMAND PACKAGE...` installs Debian packages unless COMMAND is there already.
need() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then return; fi
    as_root apt-get update -q
    as_root apt-get install -qy --no-install-recommends "$@"
}
