#!/bin/bash
# One file, one job: over 600 lines a file says in its first 40 lines why ("long because …"), over
# 1,000 it is split.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"

lint() {
	local f n
	code "$1" | while read -r f; do
		n=$(wc -l <"$1/$f")
		if [ "$n" -gt 1000 ]; then
			echo "$f: $n lines, more than 1000"
		elif [ "$n" -gt 600 ] && ! head -n 40 "$1/$f" | grep -qi 'long because'; then
			echo "$f: $n lines, more than 600, and no word why"
		fi
	done
}

clean
plant
yes '/* filler */' | head -n 601 >"$copy/metad/planted.c"
caught 'a long file' 'metad/planted.c: 601 lines, more than 600'
plant
{ echo '/* This file is long because … */'; yes '/* filler */' | head -n 1000; } >"$copy/tools/planted.c"
caught 'a very long file' 'tools/planted.c: 1001 lines, more than 1000'
