#!/bin/bash
# Random reads of 4 KiB, one at a time, from chunks in a daemon's memory and through requests, beside XRootD's preload
# client on a local xrootd with the same file (which the page cache holds), in the same rounds and by the same program:
#
#   bash ../tests/bench/xrootd.sh [ROUNDS [SECONDS]]
#
# Run in the build directory. Prints the ratios; MIN=8 fails below that.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
rounds=${1:-5} seconds=${2:-1}
hot=$builddir/tests/bench/hot
[ -x "$hot" ] || die 'tests/bench/hot is not built'
[ -n "$shim" ] || die 'the shim is not built'
requires xrootd
library=$(ldconfig -p | sed -n 's/.*libXrdPosixPreload\.so.* => //p' | head -n 1)
[ -n "$library" ] || skip 'no libXrdPosixPreload.so (libxrdposix3)'

size=$((64 << 20)) port=$(free_port)
mkdir "$tmp/xrd" "$tmp/xrd/data" "$tmp/xrd/admin" "$tmp/xrd/run"
"$hot" make "$tmp/xrd/data/file" $size || die 'cannot make the file'
cat >"$tmp/xrd/conf" <<-CONF
	all.export $tmp/xrd/data r/o
	all.adminpath $tmp/xrd/admin
	all.pidpath $tmp/xrd/run
	xrd.port $port
CONF
as=()
if [ "$(id -u)" -eq 0 ]; then # it will not be root
	chmod 755 "$tmp"
	chown -R nobody "$tmp/xrd"
	as=(-R nobody)
fi
(cd "$tmp/xrd" && exec xrootd -c "$tmp/xrd/conf" "${as[@]}" >"$tmp/xrootd.log" 2>&1 </dev/null) &
pids+=($!)
export XROOTD_VMP=127.0.0.1:$port:/xrd=$tmp/xrd/data
for ((i = 0; i < 100; i++)); do
	grep -q 'initialization completed\.$' "$tmp/xrootd.log" && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
	read -r -t 0.1 <>"$tmp/.never"
done
LD_PRELOAD=$library cat /xrd/file 2>/dev/null | cmp - "$tmp/xrd/data/file" || skip 'the local xrootd does not serve'

FF3FS_CHUNKD_MEMORY=1G start_cluster 1
ff3fs layout set --pin memory --quiet / || die 'cannot pin'
on "$hot" make "$prefix/file" $size || die 'cannot make the file on ff3fs'

# row NAME COMMAND…: a figure of this round.
row() {
	local name=$1 figure
	shift
	figure=$("$@") || die "$name: $*"
	echo "$name $figure" >>"$tmp/rows"
}
for ((r = 0; r < rounds; r++)); do
	row xrootd env LD_PRELOAD="$library" "$hot" read /xrd/file 4096 1 "$seconds"
	row hot env LD_PRELOAD="$shim" "$hot" read "$prefix/file" 4096 1 "$seconds"
	row request env FF3FS_CLIENT_HOT=no LD_PRELOAD="$shim" "$hot" read "$prefix/file" 4096 1 "$seconds"
done
awk -v min="${MIN:-0}" '
	{ v[$1, ++n[$1]] = $2; cpu[$1, n[$1]] = $4 }
	function median(k,  i, j, t) {
		for (i = 1; i < k; i++) for (j = i + 1; j <= k; j++) if (a[j] < a[i]) { t = a[i]; a[i] = a[j]; a[j] = t }
		return a[int((k + 1) / 2)]
	}
	function middle(name,  i) { for (i = 1; i <= k; i++) a[i] = v[name, i]; return median(k) }
	function ratio(name,  i) { for (i = 1; i <= k; i++) a[i] = v[name, i] / v["xrootd", i]; return median(k) }
	function work(name,  i) { for (i = 1; i <= k; i++) a[i] = cpu[name, i]; return median(k) }
	END {
		k = n["xrootd"]
		printf "4 KiB, one at a time: XRootD %d/s (%.1f us CPU of the client)\n", middle("xrootd"), work("xrootd")
		printf "  from memory: %d/s (%.2f us), %.1f times XRootD, %.1f times for the same CPU\n", middle("hot"), work("hot"), ratio("hot"), work("xrootd") / work("hot")
		printf "  by request:  %d/s (%.2f us), %.1f times XRootD\n", middle("request"), work("request"), ratio("request")
		exit ratio("hot") < min
	}' "$tmp/rows" || die "less than $MIN times XRootD"
