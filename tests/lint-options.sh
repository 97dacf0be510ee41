#!/bin/bash
# Every long option that a command has stands in its manual page, and no page names one that is not
# there; each command answers --help, --version and a wrong option as the conventions say;
# ff3fs.conf(5) has the defaults of conf_keys.h.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"

# plain FILE: its text without roff's escapes.
plain() { sed -e 's/\\-/-/g' -e 's/\\f[A-Z]//g' "$1"; }

# options_of PROGRAM [COMMAND]: its long options, without "=".
options_of() { "$@" --long-options | sed 's/=$//' | sort -u; }

# compare PAGE NAME WANT: WANT is a file with the options that the page must name, no others.
compare() {
	plain "$srcdir/man/$1" | sed -n '/^\.SH OPTIONS/,/^\.SH EXIT/p' | grep -o -- '--[a-z-]*[a-z]' |
		sort -u >"$tmp/page"
	diff "$tmp/page" "$3" >"$tmp/diff" || {
		cat "$tmp/diff"
		die "$2: options (>) and manual page (<) differ"
	}
	say "ok: $2: options and manual page agree"
}

all=()
for program in ff3fs-put ff3fs-get ff3fs-admin ff3fs-mount; do
	command -v $program >/dev/null || continue # configured without it
	options_of $program >"$tmp/have"
	compare "$(cd "$srcdir/man" && ls $program.[18])" $program "$tmp/have"
	all+=("$program")
done
: >"$tmp/have.all"
for command in $(ff3fs --commands); do
	case $command in put | get | admin | mount | version) continue ;; esac
	options_of ff3fs "$command" >>"$tmp/have.all"
	plain "$srcdir/man/ff3fs.1" | grep -q "^\.SS $command$" ||
		die "ff3fs.1 has no section on $command"
	all+=("ff3fs $command")
done
sort -u "$tmp/have.all" >"$tmp/have"
compare ff3fs.1 ff3fs "$tmp/have"

for command in "${all[@]}"; do
	# shellcheck disable=SC2086
	fails "$command --help" 0 $command --help
	[ -s "$tmp/out" ] && [ ! -s "$tmp/err" ] || die "$command --help does not go to stdout"
	# shellcheck disable=SC2086
	fails "$command --version" 0 $command --version
	grep -q '^ff3fs [0-9]' "$tmp/out" || die "$command --version: $(cat "$tmp/out")"
	# shellcheck disable=SC2086
	fails "$command --no-such-option" 2 $command --no-such-option
	[ ! -s "$tmp/out" ] && grep -q "^$command: " "$tmp/err" ||
		die "$command with a wrong option: $(cat "$tmp/out" "$tmp/err")"
done
for word in '' no-such-command --no-such-option; do
	# shellcheck disable=SC2086
	fails "ff3fs $word" 2 ff3fs $word
	[ ! -s "$tmp/out" ] || die 'stdout is not empty'
done

sed -n 's/^\tK(\([a-z]*\), \([a-z_]*\), [a-z]*, "\([^"]*\)",.*/\1 \2 \3/p' \
	"$srcdir/common/base/conf_keys.h" >"$tmp/keys"
[ "$(wc -l <"$tmp/keys")" -gt 15 ] || die 'conf_keys.h was not understood'
while read -r section key default; do
	plain "$srcdir/man/ff3fs.conf.5" | sed -n "/^\.SS \[$section\]/,/^\.S[SH] [^[]/p" |
		grep -q -e "^\.BR $key \" ($default)\"" -e "^\.B $key$" ||
		die "ff3fs.conf.5: [$section] $key with default ($default) is missing"
done <"$tmp/keys"
say 'ok: ff3fs.conf(5) and conf_keys.h agree'
