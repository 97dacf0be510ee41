#!/bin/bash
# What is released (`make dist`) is the whole tree: no test, header or script is forgotten.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"
requires make

printf 'print-released:\n\t@printf "%%s\\n" $(patsubst $(srcdir)/%%,%%,$(DISTFILES))\n' >"$tmp/print.mk"
make -s -C "$builddir" -f Makefile -f "$tmp/print.mk" print-released >"$tmp/make" 2>&1 ||
	{ cat "$tmp/make"; die 'make does not say what is released'; }
sed "s,^\./,," "$tmp/make" | LC_ALL=C sort -u >"$tmp/released"
[ "$(wc -l <"$tmp/released")" -gt 300 ] || die 'what is released cannot be read'

lint() { files "$1" | LC_ALL=C comm -23 - "$tmp/released" | sed 's/$/: not in the release/'; }

clean
plant
touch "$copy/tests/planted.sh"
caught 'a file that nobody lists' 'tests/planted.sh: not in the release'
