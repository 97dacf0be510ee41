#!/bin/bash
# The one list of the Debian packages that ff3fs needs, and what installs those that are missing:
#
#   tests/install-packages.sh [build] [run] [test]      default: all three
#   tests/install-packages.sh --list [build] [run] [test]
#
# build: compile and install. run: what tools/try.sh trains with. test: what the tests drive; a test
# whose program is missing is skipped, not failed. DuckDB comes from npm, where there is one, into
# ${XDG_CACHE_HOME:-~/.cache}/ff3fs-test.
set -u

build='gcc g++ make autoconf automake libtool pkg-config libc6-dev xz-utils
	liburing-dev libsqlite3-dev libcurl4-openssl-dev libjansson-dev libmicrohttpd-dev
	libisal-dev nettle-dev libsystemd-dev libfuse3-dev libibverbs-dev librdmacm-dev uthash-dev check'
run='python3 python3-numpy python3-torch python3-sklearn'
test='python3 python3-lmdb python3-numpy python3-torch python3-sklearn fio strace xfsprogs e2fsprogs mount nbdkit
	nbdkit-plugin-dev fuse3 libnbd-bin gnuplot-nox mandoc attr rsync clang sqlite3 curl file git perl
	libaio-dev qemu-utils binutils diffutils procps bc busybox-static golang-go nodejs openmpi-bin libopenmpi-dev valgrind libjemalloc2
	libtcmalloc-minimal4 musl-tools
	xrootd-server libxrdposix3 bubblewrap
	qemu-system-x86 cpio kmod iproute2 nftables ibverbs-providers rdmacm-utils'
npm=@duckdb/node-api

die() { echo "install-packages: $*" >&2; exit 1; }

list_only=
[ "${1:-}" = --list ] && { list_only=1; shift; }
[ $# -eq 0 ] && set -- build run test
wanted=
for group; do
	case $group in
	build | run | test) wanted="$wanted ${!group}" ;;
	*) die "no such group: $group (build, run, test)" ;;
	esac
done
wanted=$(printf '%s\n' $wanted | LC_ALL=C sort -u)
if [ -n "$list_only" ]; then printf '%s\n' $wanted; exit; fi

npm_dir=${XDG_CACHE_HOME:-$HOME/.cache}/ff3fs-test
from_npm() {
	case " $* " in *' test '*) ;; *) return ;; esac
	[ -d "$npm_dir/node_modules/$npm" ] || ! command -v npm >/dev/null && return
	mkdir -p "$npm_dir" && timeout 120 npm install --silent --no-audit --no-fund --prefix "$npm_dir" "$npm" >/dev/null 2>&1 ||
		echo "install-packages: npm cannot install $npm: its test will be skipped" >&2
}

command -v dpkg-query >/dev/null || die "this is no Debian system; it needs the equivalent of:" $wanted
missing=
for package in $wanted; do
	case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
	*' installed') ;;
	*) missing="$missing $package" ;;
	esac
done
if [ -z "$missing" ]; then
	from_npm "$@"
	exit 0
fi

if [ "$(id -u)" -eq 0 ]; then as=
elif sudo -n true 2>/dev/null; then as='sudo -n'
else die "needs root to install:$missing"
fi
echo "installing$missing"
log=$(mktemp) || die "no room for a temporary file"
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt() { $as env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" >>"$log" 2>&1; }
# A machine that has never fetched the lists, or has old ones, finds nothing the first time.
if ! apt install --no-install-recommends $missing; then
	: >"$log"
	apt update || { tail -n 5 "$log" >&2; die "apt-get update failed"; }
	apt install --no-install-recommends $missing ||
		{ tail -n 15 "$log" >&2; die "apt-get install failed for:$missing"; }
fi
from_npm "$@"
