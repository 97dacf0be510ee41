#!/bin/bash
# Nothing unfinished is marked and left, and nothing names a place of somebody's machine.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"

# Cut in two so that this file does not find itself.
marks='\b(TO''DO|FIX''ME|X''XX|HA''CK|TB''D)\b|\b(st''ub|st''ubs|st''ubbed)\b|not (yet )?impl''emented'
places='(^|[^A-Za-z0-9_.~$}])/(wo''rk|ro''ot|ho''me)/'

lint() {
	(
		cd "$1" || exit
		files . | xargs grep -n -I -i -E "$marks" | sed 's/$/   <- unfinished?/'
		files . | xargs grep -n -I -E "$places" | sed 's/$/   <- a path of one machine/'
		code . | xargs grep -n -I -E '[ 	]+$' | sed 's/$/   <- space at the end/'
	)
}

clean
plant
printf '/* TO%s: later */\n' DO >"$copy/metad/planted.c"
caught 'a mark' 'metad/planted.c:1:.*unfinished'
plant
printf 'return -ENOSYS; /* not impl%s */\n' emented >"$copy/tools/planted.c"
caught 'an excuse' 'tools/planted.c:1:.*unfinished'
plant
printf 'cd /wo%s/x\n' rk >"$copy/tests/planted.sh"
caught 'a path of one machine' 'tests/planted.sh:1:.*a path of one machine'
plant
printf 'int x; \n' >"$copy/tools/planted.c"
caught 'space at the end of a line' 'tools/planted.c:1:.*space at the end'
