# Shared by the scripts beside it. Sourced with the repository as working directory.

# Says what is going on, on standard error, with the seconds since the script began.
began=$(date +%s)
say() {
    printf '[%3ss] %s\n' "$(($(date +%s) - began))" "$*" >&2
}

die() {
    say "error: $*"
    exit 1
}

# install WHY PACKAGE...: installs those Debian packages that are missing, as root or by sudo.
install() {
    why=$1
    shift
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    command -v apt-get >/dev/null || die "needs the Debian packages$missing ($why); this is no Debian"
    say "installing$missing: $why"
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    $root apt-get update -q >/dev/null || die "apt-get update failed"
    # shellcheck disable=SC2086
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null ||
        die "could not install$missing; install them by hand and try again"
}

# What it takes to build hostler and to run machines.
install_for_machines() {
    install "a C compiler for the bundled SQLite and ring" gcc libc6-dev
    install "runs the machines" qemu-system-x86 qemu-utils seabios
    install "log into the machines and make their file systems" openssh-client e2fsprogs
    install "make networks" nftables dnsmasq-base iproute2
    install "builds Debian templates" mmdebstrap fakeroot uidmap
    install "firmware of UEFI machines" ovmf
    # The micro template is put together from Debian's packages, which needs apt's lists.
    if ! apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then
        root=
        [ "$(id -u)" = 0 ] || root=sudo
        say "fetching apt's package lists: the micro template is made from Debian's packages"
        $root apt-get update -q >/dev/null || die "apt-get update failed"
    fi
}

# What tests make images with and find processes by, beside what machines need.
install_for_tests() {
    install "disks of UEFI machines, packed images, processes, requests" fdisk mtools bzip2 xz-utils zstd procps curl
    # Debian starts a directory of its own after the installation; ours are started by the tests.
    install "a directory of people" slapd ldap-utils
}

# Programs of others that know VMmanager and DCImanager, as they come, and what the samples of the guides import.
install_clients() {
    install "keeps clients of others apart from other Python" python3 python3-venv
    command -v npm >/dev/null 2>&1 || install "clients of others for Node.js" nodejs npm
    clients=target/clients
    [ ! -f "$clients/installed" ] || return 0
    say "installing clients of others into $clients"
    python3 -m venv --clear "$clients/python"
    # The sample uses a name that urllib3 2 no longer has.
    "$clients/python/bin/pip" install --quiet 'aiovmmanager==0.1.1' 'requests==2.31.*' 'urllib3==1.26.*'
    npm install --silent --no-fund --no-audit --prefix "$clients" 'vmmanager6@1.0.0'
    : >"$clients/installed"
}

# A browser, and what makes it do things.
install_browser() {
    install "looks at the pages as people do" chromium chromium-driver
}

# A provider of logins that others wrote.
install_provider() {
    install "keeps canaille apart from other Python" python3 python3-venv
    provider=target/canaille
    [ ! -f "$provider/installed" ] || return 0
    say "installing canaille into $provider"
    python3 -m venv --clear "$provider"
    "$provider/bin/pip" install --quiet 'canaille[front,oidc,server,sqlite]==0.3.*'
    : >"$provider/installed"
}

# PostgreSQL's programs. Debian starts a server of its own after the installation; ours are started by the tests.
install_postgresql() {
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        root=
        [ "$(id -u)" = 0 ] || root=sudo
        $root mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" | $root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    install "records of several processes, and the tests of that" postgresql
}

# Rust may be installed without the login shell knowing yet.
command -v cargo >/dev/null || { [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"; }
command -v cargo >/dev/null || die "needs Rust: cargo is not in PATH"
