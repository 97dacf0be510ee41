#!/bin/bash
# Every manual page is clean by mandoc's judgement, every program has one, the protocol's page has
# the messages of wire_ops.h word for word, and ff3fs.conf(5) has every key of conf_keys.h.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"
requires mandoc

lint() {
	local root=$1 page name number
	for page in "$root"/man/*.[1-8]; do
		[ -f "$page" ] || continue
		mandoc -T lint -W warning "$page" 2>&1 | sed "s,^mandoc: ,," | sed "s,$root/,,"
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
