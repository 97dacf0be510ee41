#!/bin/bash
# Every manual page is clean by mandoc's judgement, every program has one, the protocol's page has
# the messages of wire_ops.h word for word, ff3fs.conf(5) has every key of conf_keys.h, and the table of
# calls in ff3fs-preload(7) has every hook of hooks.h.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"
requires mandoc gcc

# calls ROOT [AWK OPTION…]: the table in ff3fs-preload(7).
calls() {
	local root=$1
	shift
	awk "$@" -f "$root/man/calls-table.awk" "$root/preload/hooks.h" "$root/preload/calls.h"
}

# The names that hooks.h makes the shim export, by the compiler's reading.
hooks() {
	printf '%s\n' '#include "hooks.h"' '#define NAME_H(when, ret, name, params) @name@' \
		'#define NAME_A(other, name) @other@' 'HOOKS_ALL(NAME_H, NAME_A)' |
		gcc -D_GNU_SOURCE -E -P -I "$1/preload" - | grep -o '@[A-Za-z0-9_]*@' | tr -d @ |
		LC_ALL=C sort
}

lint() {
	local root=$1 page name number
	calls "$root" >"$tmp/table"
	sed -e "/^@CALLS@\$/ { r $tmp/table" -e 'd; }' "$root/man/ff3fs-preload.7.in" >"$tmp/ff3fs-preload.7"
	calls "$root" -v list=1 | LC_ALL=C sort >"$tmp/listed"
	LC_ALL=C uniq -d "$tmp/listed" | sed 's/^/calls.h: twice: /'
	hooks "$root" | LC_ALL=C comm -23 - "$tmp/listed" | sed 's/^/ff3fs-preload.7 lacks the call /'
	[ "$(grep -c -x 'T}	.*	T{' "$tmp/table")" -gt 20 ] || echo 'calls.h: was not understood'
	for page in "$tmp/ff3fs-preload.7" "$root"/man/*.[1-8]; do
		[ -f "$page" ] || continue
		mandoc -T lint -W warning "$page" 2>&1 | sed "s,^mandoc: ,," | sed -e "s,$root/,," -e "s,$tmp/,,"
	done
	for name in ff3fs.7 ff3fs-protocol.7; do
		[ -f "$root/man/$name" ] || echo "man/$name: missing"
	done
	for name in $(sed -n 's/^s\{0,1\}bin_PROGRAMS *+*= *//p' "$root"/*/local.mk); do
		name=${name##*/}
		ls "$root/man/$name".[18] >"$tmp/ls" 2>&1 || echo "man/$name.1: the program has no page"
	done
	awk -f "$srcdir/tests/ops-table.awk" "$root/common/wire/wire_ops.h" | sort >"$tmp/header"
	awk -f "$srcdir/tests/ops-table.awk" "$root/man/ff3fs-protocol.7" | sort >"$tmp/page"
	[ "$(wc -l <"$tmp/header")" -gt 100 ] || echo "wire_ops.h: its lists were not understood"
	diff "$tmp/header" "$tmp/page" | sed -n \
		-e 's/^< /ff3fs-protocol.7 lacks: /p' -e 's/^> /ff3fs-protocol.7 only: /p'
	sed -n 's/^\tE(\(4[0-9][0-9][0-9]\), \([A-Z_]*\),.*/\1 \2/p' "$root/common/base/err_codes.h" |
		while read -r number name; do
			grep -q "^$number  $name " "$root/man/ff3fs-protocol.7" ||
				echo "ff3fs-protocol.7 lacks the status $number $name"
		done
	if [ -f "$root/man/ff3fs.conf.5" ]; then
		sed -n 's/^\tK([a-z]*, \([a-z_]*\),.*/\1/p' "$root/common/base/conf_keys.h" |
			sort -u | while read -r name; do
			sed 's/\\-/-/g' "$root/man/ff3fs.conf.5" | grep -q -w -- "$name" ||
				echo "ff3fs.conf.5 lacks the key $name"
		done
	fi
}

clean
plant
printf '.TH broken\n.SH NAME\n.B unclosed \\f\n.nosuch\n.fi\n' >"$copy/man/planted.7"
caught 'a broken page' 'man/planted.7:.*(WARNING|ERROR)'
plant
echo 'bin_PROGRAMS += ff3fs-planted' >>"$copy/tools/local.mk"
caught 'a program without a page' 'man/ff3fs-planted.1: the program has no page'
plant
sed -i 's/^\tOP(2, ping, both, READ)/\tOP(2, pong, both, READ)/' "$copy/common/wire/wire_ops.h"
caught 'a message that the page does not have' 'ff3fs-protocol.7 only: 2 ping'
plant
sed -i 's/^#define FF3_REQ_ping(F) F(u64, cookie)/#define FF3_REQ_ping(F) F(u32, cookie)/' \
	"$copy/common/wire/wire_ops.h"
caught 'a field of another type' 'ff3fs-protocol.7 lacks: request 2 ping: u32 cookie'
plant
sed -i 's/^4100  NO_TARGET /4100  NOTARGET /' "$copy/man/ff3fs-protocol.7"
caught 'a status that the page does not have' 'ff3fs-protocol.7 lacks the status 4100 NO_TARGET'
plant
sed -i 's/^\tC(fchmodat, SERVED, "")/\t/' "$copy/preload/calls.h"
caught 'a hook that the table of calls does not have' 'ff3fs-preload.7 lacks the call fchmodat'
plant
sed -i 's/^\tC(fchmodat, SERVED, "")/\tC(fchmodat, SERVED, "") C(fchmodat, SERVED, "")/' "$copy/preload/calls.h"
caught 'a call that is in the table twice' 'calls.h: twice: fchmodat'
