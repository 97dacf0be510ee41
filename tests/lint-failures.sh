#!/bin/bash
# Each failure that ff3fs-metad(8) tells of has its tests, which exist: on simulated members and on real ones; and no
# world of the simulator is left out.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"

# look PAGE: prints what is wrong.
look() {
	local row='' line name kinds rows=0
	while read -r line; do
		case $line in
		'.\" tests:'*)
			kinds=''
			for name in ${line#*tests:}; do
				case $name in
				sim:*)
					grep -q "{ \"${name#sim:}\"," "$srcdir/tests/sim/sim_worlds.c" || echo "no world $name"
					kinds+=s
					;;
				*)
					grep -q "tests/$name" "$srcdir"/*/local.mk || grep -q "%D%/$name" "$srcdir/tests/local.mk" ||
						echo "no test $name"
					kinds+=r
					;;
				esac
			done
			[[ $kinds == *s* && $kinds == *r* ]] || echo "$row: not both kinds of tests"
			rows=$((rows + 1)) row=''
			;;
		.TP)
			[ -z "$row" ] || echo "$row: no tests"
			row=next
			;;
		*) [ "$row" != next ] || row=$line ;;
		esac
	done < <(sed -n '/^\.SH FAILURES/,/^\.SH OPTIONS/p' "$1")
	[ -z "$row" ] || echo "$row: no tests"
	[ $rows -ge 12 ] || echo "only $rows rows"
	sed -n 's/^\t{ "\([a-z-]*\)", ".*/\1/p' "$srcdir/tests/sim/sim_worlds.c" | while read -r name; do
		grep -q "^\.\\\\\" tests:.* *sim:$name\( \|$\)" "$1" || echo "world $name is in no row"
	done
}

page=$srcdir/man/ff3fs-metad.8
equal 'the table' '' "$(look "$page")"
caught() { # caught WHAT SED WORDS
	sed "$2" "$page" >"$tmp/page"
	look "$tmp/page" | grep -q "$3" || die "not caught: $1: $(look "$tmp/page")"
	say "ok: caught $1"
}
caught 'a row without tests' '/tests: sim:stopped/d' 'stopped and goes on: no tests'
caught 'a test that is none' 's/group-power.sh/group-powder.sh/' 'no test group-powder.sh'
caught 'a row without real members' 's/sim:diverged .*/sim:diverged/' 'not both kinds'
caught 'a world in no row' 's/sim:calm //' 'world calm is in no row'
