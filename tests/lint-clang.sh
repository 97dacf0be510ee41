#!/bin/bash
# clang has nothing to say about the sources either: gcc builds them in tests/run.sh, which counts its
# warnings, and who builds with CC=clang and --enable-werror must get through, too.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"
requires clang make

# The flags that make gives to every file, as the build directory was configured; quoted for a shell.
make_flags() {
	make -s -C "$builddir" --eval='ff3-flags: ; @: $(info $(DEFS) $(AM_CPPFLAGS) $(AX_CFLAGS))' ff3-flags
}
# (make may first make its Makefile again, and say so)
told=$(make_flags | grep -e '^-D.* -DSYSCONFDIR=.* -Wall') || die "make does not tell its flags"
eval "flags=($told)"
# What the libraries' headers need, and the metadata server's generated ones.
flags+=($(sed -n 's/^[A-Z]*_CFLAGS = \(-.*\)/\1/p' "$builddir/Makefile" | grep -v -e -fsanitize -e -W)
	-I"$builddir" -I"$builddir/metad" -fno-sanitize=all)

lint() {
	(cd "$builddir" && files "$1" | grep -E '^(common|preload|chunkd|metad|tools)/.*\.c$|^tests/unit-.*\.c$' |
		sed "s|^|$1/|" | xargs -P 2 -n 16 clang -fsyntax-only "${flags[@]}" -I"$1" 2>&1) |
		sed -n "s|^$1/||; /: \(warning\|error\|fatal error\): /p"
}

clean
plant
find "$copy" -name '*.c' ! -name crc32c.c -delete # one file is enough
printf '%s\n' '#include <stdbool.h>' 'bool ff3_planted(bool (*one)(void), bool (*other)(void));' \
	'bool ff3_planted(bool (*one)(void), bool (*other)(void)) { return one() | other(); }' \
	>>"$copy/common/base/crc32c.c"
caught 'a bitwise or of truth values' 'crc32c.c:.*bitwise'
