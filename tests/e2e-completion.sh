#!/bin/bash
# What the shell completes: commands, options, their values, names on the cluster. Every option of every
# command that takes an argument has values of its own, or is known to take anything.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get ff3fs-admin
. "$srcdir/tools/completion.bash"

# completes WHAT WANT WORD…: what the last word can become. Words are broken at = as bash does.
completes() {
	local what=$1 want=$2
	shift 2
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
	_ff3fs 2>"$tmp/err" || true
	equal "$what" "$want" "${COMPREPLY[*]}"
}

completes 'a command' 'layout' ff3fs lay
completes 'an option' '--pin=' ff3fs layout set --pi
completes 'all places to pin' 'memory none' ff3fs layout set --pin =
completes 'one of them' 'memory' ff3fs layout set --pin = m
completes 'in one word' '--pin=none' ff3fs layout set --pin=n
completes 'behind a space' 'none' ff3fs layout set --pin n
completes 'chunk sizes' '128K 1M 16M' ff3fs layout set --chunk-size = 1
completes 'measurements' 'read-seq read-rand' ff3fs bench --only = read-
completes 'the next measurement' 'stat,readdir' ff3fs bench --only = stat,readd
equal 'all of them' "$(sed -n 's/^\t{ "\([a-z-]*\)", bench_.*/\1/p' "$srcdir/tools/bench.c" | sort | tr '\n' ' ')" \
	"$(COMP_WORDS=(ff3fs bench --only =) COMP_CWORD=3 && _ff3fs 2>/dev/null; printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ')"
completes 'mount options' 'attr_timeout=' ff3fs mount -o attr
completes 'daemons' 'metad chunkd' ff3fs dev kill ''
completes 'commands of dev' 'status' ff3fs dev st
completes 'commands of admin' 'status nodes layout metad fsck' ff3fs-admin ''
touch "$tmp/some.conf"
completes 'a file' "$tmp/some.conf" ff3fs ls --conf = "$tmp/so"
completes 'a directory' "$tmp/bin" ff3fs dev up --dir = "$tmp/bi"

# No option with an argument is forgotten.
for command in ls stat rm mkdir mv layout df run check bench dev put get mount admin; do
	while read -r option; do
		cur=x COMPREPLY=()
		_ff3fs_values "${option%=}" 2>/dev/null || die "ff3fs $command $option has no completion"
	done < <(ff3fs $command --long-options | grep '=$')
done
say 'ok: every option that takes an argument'

start_cluster 1
ff3fs mkdir "$prefix/data" "$prefix/dates" "$prefix/other"
equal "names on the cluster" "$prefix/data $prefix/dates" "$(COMP_WORDS=(ff3fs ls "$prefix/dat") COMP_CWORD=2 && _ff3fs 2>/dev/null; printf "%s\n" "${COMPREPLY[@]}" | sort | xargs)"
completes 'of a layout' "$prefix/other" ff3fs layout get "$prefix/ot"
completes 'for admin' "$prefix/other" ff3fs-admin layout "$prefix/ot"
completes 'nothing' '' ff3fs ls "$prefix/none"
