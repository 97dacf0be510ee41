#!/bin/bash
# Every hook whose name is a system call's can be reached by its number too: it has a row in
# preload/syscalls.h.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires gcc

numbers() { echo '#include <sys/syscall.h>' | gcc -E -dM - | sed -n 's/^#define SYS_\([a-z0-9_]*\) .*/\1/p' | sort -u; }

lint() { # lint DIR
	local name number
	printf '%s\n' '#include "hooks.h"' '#define H(when, ret, name, params) @name@' \
		'#define A(other, name) @other@' 'HOOKS_ALL(H, A)' |
		gcc -D_GNU_SOURCE -E -P -I "$1" - | grep -o '@[A-Za-z0-9_]*@' | tr -d @ | sort -u >"$tmp/hooks"
	printf '%s\n' '#include "syscalls.h"' '#define S(name, which, call) @name@' \
		'#define N(name) @name@' 'SYSCALLS(S, N)' |
		gcc -D_GNU_SOURCE -E -P -I "$1" - | grep -o '@[A-Za-z0-9_]*@' | tr -d @ | sort >"$tmp/rows"
	uniq -d "$tmp/rows" | sed 's/^/twice in syscalls.h: /'
	while read -r name; do
		case $name in # a hook by another name than its call's
		fstatat) number=newfstatat ;;
		pread | pwrite) number=${name}64 ;;
		posix_fadvise) number=fadvise64 ;;
		eventfd) number=eventfd2 ;;
		_exit) number=exit_group ;;
		syscall) continue ;;
		*) number=$name ;;
		esac
		grep -qx "$number" "$tmp/numbers" || continue
		grep -qx "$number" "$tmp/rows" || echo "a hook without a row in syscalls.h: $number"
	done <"$tmp/hooks"
}

numbers >"$tmp/numbers"
found=$(lint "$srcdir/preload")
[ -z "$found" ] || die "$found"
[ "$(wc -l <"$tmp/rows")" -gt 100 ] || die 'cannot read syscalls.h'
say "ok: $(wc -l <"$tmp/rows") system calls"

# It is seen to fail.
mkdir -p "$tmp/planted/preload"
ln -s "$srcdir/common" "$tmp/planted/common"
cp "$srcdir"/preload/*.h "$tmp/planted/preload"
sed -i '/^	S(fsync,/d; /^	S(newfstatat,/d' $tmp/planted/preload/syscalls.h
lint "$tmp/planted/preload" >"$tmp/caught"
for name in fsync newfstatat; do
	grep -qx "a hook without a row in syscalls.h: $name" "$tmp/caught" || die "not caught: $name is missing"
	say "ok: caught the missing $name"
done
