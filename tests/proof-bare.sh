#!/bin/bash
# The proof that the README's two commands need nothing but Debian 12: a minimal system is made with
# debootstrap, this commit is put into it, and both commands run in there as root. Needs root, the
# Debian archive (as this machine's apt is set up to reach it), 6 GB of disk and a quarter of an hour,
# so it is no part of `make check`.
#
#   tests/proof-bare.sh [COMMAND…]     default: "./tools/try.sh" "./tests/run.sh"
#
# KEEP=1 keeps the system and says where it is; BARE=DIR uses one that was kept.
set -u
top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
[ $# -gt 0 ] || set -- ./tools/try.sh ./tests/run.sh

die() { echo "proof-bare: $*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || die "needs root, for chroot"
command -v debootstrap >/dev/null || apt-get install -q -y debootstrap >/dev/null ||
	die "needs the Debian package debootstrap"
commit=$(git -C "$top" rev-parse --short HEAD) || die "not a checkout"
[ -z "$(git -C "$top" status --porcelain)" ] || echo "proof-bare: what is not committed is not proved"

bare=${BARE:-$(mktemp -d /var/tmp/ff3fs-bare.XXXXXX)} || exit 1
mkdir -p "$bare" && chmod 755 "$bare" # it is the root directory of every user in there
cleanup() {
	local status=$? m
	trap - EXIT
	# What the commands have mounted, too (ip netns does), the innermost first.
	awk -v below="$bare/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r m; do
		umount "$m" || umount -l "$m"
	done
	if [ -n "${KEEP:-}${BARE:-}" ]; then
		echo "kept: $bare"
	elif grep -q " $bare/" /proc/mounts; then
		echo "proof-bare: still mounted, not removed: $bare" >&2
	else
		rm -rf --one-file-system "$bare"
	fi
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 2>/dev/null | awk '$2 == "bookworm" { print $1; exit }')
if [ ! -x "$bare/usr/bin/apt-get" ]; then
	echo "== debootstrap --variant=minbase bookworm"
	debootstrap --variant=minbase bookworm "$bare" "${mirror:-http://deb.debian.org/debian}" \
		>"$bare.log" 2>&1 || { tail "$bare.log"; die "debootstrap failed"; }
	rm -f "$bare.log"
	# How this machine reaches the archive: sources and proxies, and what the resolver is.
	cp -a /etc/apt/sources.list* "$bare/etc/apt/" 2>/dev/null
	rm -f "$bare"/etc/apt/sources.list.d/*.disabled*
	for file in /etc/apt/apt.conf.d/*; do
		grep -q -E 'Proxy|Acquire::Check|CaInfo' "$file" && cp "$file" "$bare/etc/apt/apt.conf.d/"
	done
	cp /etc/resolv.conf "$bare/etc/resolv.conf"
	# Written by every installer and container engine, only not by debootstrap.
	echo '127.0.0.1 localhost' >"$bare/etc/hosts"
fi
echo "== packages in it before: $(chroot "$bare" dpkg-query -W | wc -l)"

mount -t proc proc "$bare/proc"
mount -t sysfs -o ro sysfs "$bare/sys"
mount -t tmpfs -o mode=755 tmpfs "$bare/dev"
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
	IFS=: read -r name major minor <<<"$node"
	mknod -m 666 "$bare/dev/$name" c "$major" "$minor" || die "mknod"
done
ln -s /proc/self/fd "$bare/dev/fd"
ln -s /proc/self/fd/0 "$bare/dev/stdin"
ln -s /proc/self/fd/1 "$bare/dev/stdout"
ln -s /proc/self/fd/2 "$bare/dev/stderr"
mkdir "$bare/dev/shm" "$bare/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$bare/dev/pts"
ln -s pts/ptmx "$bare/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$bare/dev/shm"

rm -rf "$bare/usr/src/ff3fs"
mkdir -p "$bare/usr/src/ff3fs"
git -C "$top" archive "$commit" | tar -x -C "$bare/usr/src/ff3fs" || die "git archive"

failed=0
for command; do
	echo "== in the bare system: $command"
	began=$SECONDS
	env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 \
		chroot "$bare" /bin/sh -c "cd /usr/src/ff3fs && exec $command" </dev/null
	status=$?
	echo "== $command: exit $status after $((SECONDS - began)) s"
	[ $status -eq 0 ] || failed=$((failed + 1))
done
if [ $failed -gt 0 ]; then echo "proof-bare: $failed of $# commands failed"; exit 1; fi
echo "proof-bare: ok ($# commands on $commit)"
