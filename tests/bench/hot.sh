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
. "$srcdir/tests/bench/passthrough.sh"
requires taskset
hot=$builddir/tests/bench/hot
[ -x "$hot" ] || die 'tests/bench/hot is not built'
[ -n "$shim" ] || die 'the shim is not built'
size=$((64 << 20))
mkdir "$tmp/below"
"$hot" make "$tmp/below/file" $size || die 'cannot make the file'
passthrough "$tmp/below/file" 0
[ -z "$no_fuse" ] || skip "$no_fuse"

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
