# For the scripts beside it: `need COMMAND PACKAGE...` installs Debian packages unless COMMAND is there already.
need() {
    local command=$1 sudo
    shift
    if command -v "$command" >/dev/null; then return; fi
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -q
    $sudo apt-get install -qy --no-install-recommends "$@"
}
