#!/bin/bash
# Every name that the shim exports, and every row of preload/syscalls.h, is called by one of the programs that
# compare the prefix with a local directory: by its name, by a quoted one that is looked up, or by number.
# A new hook without a call there fails here.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires gcc nm

programs='preload-posix preload-posix-syscall preload-calls preload-syscalls preload-aio preload-posix-aio
	preload-map preload-map-many preload-map-fork preload-uring'
for program in $programs; do
	built=$(find_built "$program") || die "$program is not built"
	nm -D --undefined-only "$built" | sed 's/^ *U //; s/@.*//'
done | sort -u >"$tmp/imported"

preprocess() { # preprocess FOLDER HEADER WHAT…: the names that the macros put between @
	local folder=$1
	shift
	printf '%s\n' "$@" | gcc -D_GNU_SOURCE -E -P -I "$folder" - | grep -o '@[A-Za-z0-9_]*@' | tr -d @ | sort -u
}

lint() { # lint FOLDER
	local name
	preprocess "$1" '#include "hooks.h"' '#define H(when, ret, name, params) @name@' \
		'#define A(other, name) @other@' 'HOOKS_ALL(H, A)' >"$tmp/names"
	preprocess "$1" '#include "syscalls.h"' '#define S(name, which, call) @name@' '#define N(name)' \
		'SYSCALLS(S, N)' >"$tmp/numbers"
	while read -r name; do
		grep -qx "$name" "$tmp/imported" && continue
		grep -qF "\"$name\"" "$srcdir"/tests/posix_*.c "$srcdir"/tests/preload_*.c && continue
		grep -qE "LIBAIO\($name," "$srcdir"/tests/posix_names.c || echo "no test calls $name"
	done <"$tmp/names"
	while read -r name; do
		grep -qE "(SYS_|CALL\()$name\b" "$srcdir"/tests/posix_*.[ch] "$srcdir"/tests/preload_*.c ||
			echo "no test calls the number of $name"
	done <"$tmp/numbers"
}

found=$(lint "$srcdir/preload")
[ -z "$found" ] || die "$found"
[ "$(wc -l <"$tmp/names")" -gt 350 ] && [ "$(wc -l <"$tmp/numbers")" -gt 100 ] || die 'cannot read the tables'
say "ok: $(wc -l <"$tmp/names") names, $(wc -l <"$tmp/numbers") numbers"

# It is seen to fail.
mkdir -p "$tmp/planted/preload"
ln -s "$srcdir/common" "$tmp/planted/common"
cp "$srcdir"/preload/*.h "$tmp/planted/preload"
sed -i 's/^	A(__open64, open) /	A(__open64, open) A(__open_planted, open)/' "$tmp/planted/preload/hooks.h"
sed -i 's/^	S(fsync,/	S(planted, FD(0), 0) S(fsync,/' "$tmp/planted/preload/syscalls.h"
lint "$tmp/planted/preload" >"$tmp/caught"
for line in 'no test calls __open_planted' 'no test calls the number of planted'; do
	grep -qx "$line" "$tmp/caught" || die "not caught: $line"
	say "ok: caught: $line"
done
