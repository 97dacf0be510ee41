#!/bin/bash
# What the shim is made of: it NEEDs libc (and the dynamic linker) only, exports exactly the
# table of preload/hooks.h, has no version of its own (versioned symbols would not be interposed),
# and asks for no glibc newer than 2.34. Neither it nor the client that it loads has thread-local variables that
# the linker would allocate when a thread touches them first.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires readelf nm gcc
[ -n "$shim" ] || die "libff3fs_preload.so is not built"

# The names in the table, from the table.
table() {
	printf '%s\n' '#include "hooks.h"' '#define NAME_H(when, ret, name, params) @name@' \
		'#define NAME_A(other, name) @other@' 'HOOKS_ALL(NAME_H, NAME_A)' |
		gcc -D_GNU_SOURCE -E -P -I "$srcdir/preload" - | grep -o '@[A-Za-z0-9_]*@' | tr -d @ |
		LC_ALL=C sort
}

late_tls() { # late_tls LIBRARY
	readelf -rW "$1" | grep -E 'DTPMOD|TLSDESC' | sed 's/^/allocates thread-local variables: /'
}

lint() { # lint LIBRARY
	late_tls "$1"
	local allowed='libc\.so\.6|ld-linux.*'
	[ -n "${SANITIZE_FLAGS:-}" ] && allowed="$allowed|lib(a|t|ub)san\\.so.*|lib(m|gcc_s|dl|pthread|rt)\\.so.*"
	readelf -dW "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vxE "$allowed" |
		sed 's/^/NEEDS /'
	readelf -dW "$1" | grep -q '(VERDEF)' && echo 'defines a symbol version'
	readelf -dW "$1" | grep -q '(SONAME).*\.so\.' && echo 'has a numbered soname'
	readelf -VW "$1" | grep -oE 'GLIBC_2\.[0-9]+' | sort -u |
		awk -F. '$2 > 34 { print "asks for " $0 }'
	nm -D --defined-only "$1" | awk '{ print $3 }' | LC_ALL=C sort >"$tmp/exported"
	table >"$tmp/table"
	LC_ALL=C comm -23 "$tmp/exported" "$tmp/table" | sed 's/^/exports what is not in hooks.h: /'
	LC_ALL=C comm -13 "$tmp/exported" "$tmp/table" | sed 's/^/does not export: /'
}

caught() { # caught WHAT PATTERN LIBRARY
	lint "$3" >"$tmp/caught" 2>&1
	grep -q -E -- "$2" "$tmp/caught" || { cat "$tmp/caught"; die "not caught: $1"; }
	say "ok: caught $1"
}

[ "$(table | wc -l)" -gt 200 ] || die "cannot read hooks.h"
found=$(lint "$shim")
[ -z "$found" ] || die "$found"
found=$(late_tls "$library")
[ -z "$found" ] || die "${library##*/}: $found"
say "ok: $(table | wc -l) symbols, $(readelf -dW "$shim" | grep -c NEEDED) library"

# Each rule is seen to fail.
echo 'int planted(void); __attribute__((visibility("default"))) int planted(void) { return 0; }' \
	>"$tmp/planted.c"
gcc -shared -fPIC -o "$tmp/planted.so" "$tmp/planted.c" -Wl,--no-as-needed -lm \
	-Wl,-soname,libplanted.so.1 || die 'cannot build a planted library'
echo '__thread int planted_tls; int *planted(void) { return &planted_tls; }' >"$tmp/tls.c"
gcc -shared -fPIC -o "$tmp/tls.so" "$tmp/tls.c" || die 'cannot build a library with a thread-local variable'
caught 'late thread-local variables' '^allocates thread-local' "$tmp/tls.so"
caught 'another library' '^NEEDS libm' "$tmp/planted.so"
caught 'another symbol' 'not in hooks.h: planted' "$tmp/planted.so"
caught 'a missing symbol' 'does not export: open64' "$tmp/planted.so"
caught 'a numbered soname' 'numbered soname' "$tmp/planted.so"
echo 'PLANTED_1 { global: planted; local: *; };' >"$tmp/planted.map"
gcc -shared -fPIC -o "$tmp/versioned.so" "$tmp/planted.c" -Wl,--version-script="$tmp/planted.map" ||
	die 'cannot build a versioned library'
caught 'a version node' 'symbol version' "$tmp/versioned.so"
