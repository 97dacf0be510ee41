#!/bin/bash
# Daemons that cannot start: one clear line each, a failing exit code, and what others hold stays
# as it was.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd

start_metad
start_chunkd 1
export FF3FS_METAD_LISTEN=127.0.0.1:0 FF3FS_METAD_ADMIN=127.0.0.1:0 FF3FS_METAD_DIR=$tmp/other
export FF3FS_CHUNKD_LISTEN=127.0.0.1:0 FF3FS_CHUNKD_ADMIN=127.0.0.1:0 FF3FS_CHUNKD_METAD=$metad_addr
export FF3FS_CHUNKD_TARGETS=$tmp/other.target
mkdir "$tmp/other" "$tmp/other.target"

for daemon in ff3fs-metad ff3fs-chunkd; do
	fails "$daemon: usage" 2 $daemon --no-such-option
	fails "$daemon: help" 0 $daemon --help
	fails "$daemon: version" 0 $daemon --version
	refuses "$daemon: no such configuration" 'nowhere.conf' $daemon --conf "$tmp/nowhere.conf"
	printf '[metad]\nlisten = 127.0.0.1:0\nlisten_too = x\n' >"$tmp/bad.conf"
	refuses "$daemon: unknown key" "bad.conf:3: .*listen_too" $daemon --conf "$tmp/bad.conf"
	printf '[client\nprefix = /x\n' >"$tmp/broken.conf"
	refuses "$daemon: broken file" 'broken.conf:1' $daemon --conf "$tmp/broken.conf"
	refuses "$daemon: a directory as configuration" "$tmp" $daemon --conf "$tmp"
	if [ "$(id -u)" -eq 0 ]; then
		: >"$tmp/secret.conf"
		chmod 600 "$tmp/secret.conf"
		chmod 755 "$tmp"
		refuses "$daemon: unreadable configuration" 'secret.conf.*permission denied' \
			setpriv --reuid 65534 --clear-groups "$tmp/bin/$daemon" --conf "$tmp/secret.conf"
	fi
done

export FF3FS_METAD_LISTEN=$metad_addr
refuses 'metad: address in use' "${metad_addr##*:}.*in use" ff3fs-metad
FF3FS_METAD_LISTEN=nonsense
refuses 'metad: no address' 'nonsense' ff3fs-metad
FF3FS_METAD_LISTEN=127.0.0.1:0 FF3FS_METAD_DIR=$tmp/metad
refuses 'metad: directory in use' "$tmp/metad.*another" ff3fs-metad
FF3FS_METAD_DIR=$tmp/empty.conf/x
refuses 'metad: no directory' 'empty.conf.*not a directory' ff3fs-metad
FF3FS_METAD_DIR=$tmp/other

FF3FS_CHUNKD_TARGETS=$tmp/chunkd.1
refuses 'chunkd: target in use' "$tmp/chunkd.1.*another" ff3fs-chunkd
FF3FS_CHUNKD_TARGETS=$tmp/empty.conf/x
refuses 'chunkd: no directory' 'empty.conf.*not a directory' ff3fs-chunkd
FF3FS_CHUNKD_TARGETS=$tmp/other.target FF3FS_CHUNKD_LISTEN=${chunkd_addr[1]}
refuses 'chunkd: address in use' "${chunkd_addr[1]##*:}.*in use" ff3fs-chunkd
FF3FS_CHUNKD_LISTEN=127.0.0.1:0

# A directory that cannot be written to.
mkdir "$tmp/ro"
if [ "$(id -u)" -eq 0 ]; then
	if mount -t tmpfs -o ro tmpfs "$tmp/ro" 2>/dev/null; then
		cleanup_fn umount "$tmp/ro"
		why='read-only'
	fi
else
	chmod 555 "$tmp/ro"
	why='permission denied'
fi
if [ -n "${why:-}" ]; then
	FF3FS_METAD_DIR=$tmp/ro/metad
	refuses 'metad: read-only directory' "$tmp/ro.*$why" ff3fs-metad
	FF3FS_METAD_DIR=$tmp/ro
	refuses 'metad: read-only directory that exists' "$tmp/ro.*$why" ff3fs-metad
	FF3FS_CHUNKD_TARGETS=$tmp/ro
	refuses 'chunkd: read-only directory' "$tmp/ro.*$why" ff3fs-chunkd
fi
unset FF3FS_METAD_LISTEN FF3FS_METAD_DIR FF3FS_METAD_ADMIN FF3FS_CHUNKD_TARGETS FF3FS_CHUNKD_LISTEN \
	FF3FS_CHUNKD_ADMIN FF3FS_CHUNKD_METAD

# A cluster's target does not go to another cluster unnoticed.
cluster_env
requires ff3fs
check 'the first cluster still serves' ff3fs ls "$prefix"
