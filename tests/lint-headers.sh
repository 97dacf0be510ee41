#!/bin/bash
# The public header compiles as C90 (with stdint) and as C++, without a warning; every other header
# compiles by itself.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"
requires gcc g++

# compiles NAME HEADER COMPILER…
compiles() {
	local name=$1 header=$2
	shift 2
	printf '#include "%s"\n' "$header" >"$tmp/unit.$name"
	"$@" -Wall -Wextra -Werror -fsyntax-only -D_GNU_SOURCE "$tmp/unit.$name" >"$tmp/cc" 2>&1 ||
		echo "${header#"$root"/}: does not compile as $name: $(grep -m 1 error "$tmp/cc")"
}

# What the libraries' headers need, as configure found it.
flags=$(sed -n 's/^[A-Z]*_CFLAGS = \(-.*\)/\1/p' "$builddir/Makefile" | grep -v -e -fsanitize -e -W)

lint() {
	local root=$1 h
	compiles C90 "$root/common/client/ff3fs.h" gcc -x c -std=c90 -pedantic-errors
	compiles C++ "$root/common/client/ff3fs.h" g++ -x c++ -std=c++98 -pedantic-errors -Wno-long-long
	files "$root" | grep '\.h$' | while read -r h; do
		# shellcheck disable=SC2086
		compiles "C by itself" "$root/$h" gcc -x c -std=gnu11 -Wno-unused $flags \
			-include "$builddir/config.h"
	done
}

clean
plant
echo 'static inline int planted(void) { for (int i = 0; i < 1; i++) {} return 0; } // C99' \
	>>"$copy/common/client/ff3fs.h"
caught 'C99 in the public header' 'ff3fs.h: does not compile as C90'
plant
echo 'int planted(int class);' >>"$copy/common/client/ff3fs.h"
caught 'a C++ keyword in the public header' 'ff3fs.h: does not compile as C\+\+'
plant
echo 'struct planted { uint64_t without_include; };' >"$copy/metad/planted.h"
caught 'a header that needs another one first' 'metad/planted.h: does not compile as C by itself'
