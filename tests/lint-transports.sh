#!/bin/bash
# What tests say of transports is understood: "# transport: WORD… (reason)" has words that there are and a reason, and
# tests/vm/cannot has tests that there are, each with a reason.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"

lint() {
	local name reason
	(cd "$1/tests" && grep -n '^# transport:' ./*.sh) | grep -v -E ':# transport:( none| tcp| unix| shm| verbs)+ \(.*\)$'
	while IFS=: read -r name reason; do
		[[ $name != '#'* ]] || continue
		[ -f "$1/tests/$name.sh" ] || echo "tests/vm/cannot: there is no $name.sh"
		[[ $reason == ' '?* ]] || echo "tests/vm/cannot: $name without a reason"
	done <"$1/tests/vm/cannot"
}

clean
plant
echo '# transport: udp (why not)' >>"$copy/tests/e2e-names.sh"
caught 'a word that is none' 'e2e-names.sh:[0-9]*:# transport: udp'
plant
echo '# transport: tcp' >>"$copy/tests/e2e-names.sh"
caught 'no reason' 'e2e-names.sh:[0-9]*:# transport: tcp$'
plant
printf 'e2e-nothing: slow\ne2e-names:\n' >>"$copy/tests/vm/cannot"
caught 'a test that is none' 'there is no e2e-nothing.sh'
caught 'one without a reason' 'e2e-names without a reason'
