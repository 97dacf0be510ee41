#!/bin/bash
# Memory allocators before the shim and behind it, and one of the program's own, which also sees that calls which
# handlers of signals may make do without: preload_allocators.c; and rings, whose tables grow in the shim. What one
# allocator gave never goes back to another: realloc is a hook, malloc and free are not.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd gcc
program=$(find_built preload-allocators) && own=$(find_built preload-own-malloc) &&
	uring=$(find_built preload-uring) || die 'preload-allocators is not built'

start_cluster 1
n_objects=40
mkdir "$tmp/local" "$tmp/l"
echo '__thread char of_this[100]; char *variable(void) { return of_this; }' >"$tmp/object.c"
gcc -shared -fPIC -o "$tmp/object" "$tmp/object.c" || die 'cannot build a shared object'
for ((i = 0; i < n_objects; i++)); do cp "$tmp/object" "$tmp/local/object.$i"; done
seq 1000000 1300000 | head -c 2097152 >"$tmp/local/data"
on cp -r "$tmp/local" "$prefix/allocators" || die 'cp'
rings=yes
"$uring" raw links "$tmp/l" >/dev/null 2>&1 || { rings=; say 'not run: rings, there is no io_uring here'; }
rm -rf "$tmp/l" && mkdir "$tmp/l"
[ -z "$rings" ] || "$uring" liburing names "$tmp/l" >"$tmp/want" || die 'the local run with rings'

# whole WHAT PRELOAD PROGRAM [HOW]
whole() {
	local status n_children=12
	[ "${4:-}" = alone ] && n_children=0
	LD_PRELOAD=$2 timeout -k 5 200 "$3" "$prefix/allocators" $n_objects "${@:4}" >"$tmp/out" 2>&1 ||
		{ status=$?; cat "$tmp/out"; die "$1: exit $status"; }
	equal "$1" "$n_objects objects, $n_children children" "$(cat "$tmp/out")"
	[ -n "$rings" ] || return 0
	on rm -rf "$prefix/l"
	on mkdir "$prefix/l"
	LD_PRELOAD=$2 timeout -k 5 60 "$uring" liburing names "$prefix/l" >"$tmp/out" 2>&1
	status=$?
	diff "$tmp/want" "$tmp/out" || die "$1: rings: not what a local directory gives"
	equal "$1: rings" 0 $status
}
# A sanitizer's runtime is an allocator that stands first, and forks beside others' threads are not for it. The
# program is not built with it, so that ThreadSanitizer does not see its threads wait for each other.
if [ -n "$sanitizer_runtime" ]; then
	export TSAN_OPTIONS=${TSAN_OPTIONS:-}:report_bugs=0
	whole 'the sanitizer' "$sanitizer_runtime:$shim" "$program" calm
	exit 0
fi
"$program" "$tmp/local" $n_objects >"$tmp/out" || die 'the local run'
whole 'libc' "$shim" "$program"
library() { ldconfig -p 2>/dev/null | sed -n "s,.*[[:space:]]$1 .*=> ,,p" | head -n 1; }
for name in libjemalloc.so.2 libtcmalloc_minimal.so.4 libc_malloc_debug.so.0; do
	other=$(library $name)
	[ -n "$other" ] || { say "not run: no $name on this machine"; continue; }
	how=()
	# (Its locks are not fork's: without us, too, a child waits for ever for what another thread had.)
	[ $name = libc_malloc_debug.so.0 ] && export GLIBC_TUNABLES=glibc.malloc.check=3 && how=(alone)
	whole "$name after ours" "$shim:$other" "$program" "${how[@]}"
	whole "$name before ours" "$other:$shim" "$program" "${how[@]}"
done
unset GLIBC_TUNABLES
[ "${TRANSPORT:-}" != verbs ] || export REGISTER=1
# (What is asked for by another connection than there is yet is allocated, in whichever call that is.)
rings= FF3FS_CLIENT_HOT=no whole "the program's own" "$shim" "$own"
