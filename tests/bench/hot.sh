#!/bin/bash
# Reads of chunks in a daemon's memory, by pread under the shim, beside a passthrough FUSE file system
# (libfuse's example, uncached) and memcpy, in the same rounds:
#
#   bash ../tests/bench/hot.sh [ROUNDS [SECONDS]]
#
# Run in the build directory, as root or where /dev/fuse may be used. One at a time: the client, and the
# FUSE daemon with it, on one core.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
rounds=${1:-5} seconds=${2:-1}
requires taskset fusermount3
hot=$builddir/tests/bench/hot
[ -x "$hot" ] || die 'tests/bench/hot is not built'
[ -n "$shim" ] || die 'the shim is not built'
example=/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c
[ -f "$example" ] || skip "no $example"
gcc -O2 -w -I"${example%/*}" "$example" $(pkg-config --cflags --libs fuse3) -o "$tmp/passthrough_ll" ||
	skip 'passthrough_ll does not compile'

size=$((64 << 20))
mkdir "$tmp/below" "$tmp/mnt"
mkfifo "$tmp/pause"
"$hot" make "$tmp/below/file" $size || die 'cannot make the file'
"$tmp/passthrough_ll" -o cache=never -f "$tmp/mnt" >"$tmp/fuse.log" 2>&1 &
fuse_pid=$!
cleanup_fn 'fusermount3 -u -z "$tmp/mnt"; kill $fuse_pid 2>/dev/null'
fuse_file=$tmp/mnt$tmp/below/file
for ((i = 0; i < 100; i++)); do [ -f "$fuse_file" ] && break; read -r -t 0.1 <>"$tmp/pause"; done
[ -f "$fuse_file" ] || die 'FUSE does not mount'
taskset -cp 0 $fuse_pid >/dev/null

FF3FS_CHUNKD_MEMORY=1G start_cluster 1
export FF3FS_PREFIX=$prefix
ff3fs layout set --pin memory --quiet / || die 'cannot pin'
shimmed() { LD_PRELOAD=$shim "$@"; }
shimmed "$hot" make "$prefix/file" $size || die 'cannot make the file on ff3fs'

# row NAME WHAT…: a figure of this round.
row() {
	local name=$1
	shift
	echo "$name $("$@")" >>"$tmp/rows"
}
for ((r = 0; r < rounds; r++)); do
	row fuse taskset -c 0 "$hot" read "$fuse_file" 4096 1 "$seconds"
	row hot shimmed taskset -c 0 "$hot" read "$prefix/file" 4096 1 "$seconds"
	row hot8 shimmed "$hot" read "$prefix/file" 4096 8 "$seconds"
	row copy taskset -c 0 "$hot" copy 1048576 "$seconds"
	row hot1m shimmed taskset -c 0 "$hot" read "$prefix/file" 1048576 1 "$seconds"
	row copy4k taskset -c 0 "$hot" copy 4096 "$seconds"
done
awk '
	{ ops[$1, ++n[$1]] = $2; bytes[$1, n[$1]] = $3; cpu[$1, n[$1]] = $4 }
	function median(k,  i, j, t) {
		for (i = 1; i < k; i++) for (j = i + 1; j <= k; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
		return a[int((k + 1) / 2)]
	}
	END {
		k = n["fuse"]
		for (i = 1; i <= k; i++) a[i] = ops["hot", i]; printf "4 KiB, one at a time: %d/s", median(k)
		for (i = 1; i <= k; i++) a[i] = ops["fuse", i]; printf " (FUSE %d/s),", median(k)
		for (i = 1; i <= k; i++) a[i] = ops["hot", i] / ops["fuse", i]; printf " %.1f times FUSE,", median(k)
		for (i = 1; i <= k; i++) a[i] = cpu["hot", i]; printf " %.2f us CPU", median(k)
		for (i = 1; i <= k; i++) a[i] = cpu["copy4k", i]; printf " (memcpy %.2f)\n", median(k)
		for (i = 1; i <= k; i++) a[i] = ops["hot8", i]; printf "4 KiB, 8 threads: %d/s\n", median(k)
		for (i = 1; i <= k; i++) a[i] = bytes["hot1m", i] / 1048576; printf "1 MiB: %d MiB/s", median(k)
		for (i = 1; i <= k; i++) a[i] = bytes["hot1m", i] / bytes["copy", i]; printf ", %.2f of memcpy\n", median(k)
	}' "$tmp/rows"
