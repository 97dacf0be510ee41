# Sourced after functions.sh by tests of exposed chunks: e2e-hot in the background, counters.

hot=$(find_built e2e-hot) || die 'e2e-hot is not built'

# counter NAME [LABEL]: of all chunk daemons together.
counter() {
	local n
	for n in "${!chunkd_admin[@]}"; do
		curl -sf "http://${chunkd_admin[$n]}/metrics"
	done | awk -v name="ff3fs_chunkd_$1" -v label="${2:-}" \
		'index($0, name "{") == 1 && index($0, label) { n += $NF } END { print n + 0 }'
}
requests() { counter request_duration_seconds_count; }

# begin MODE…: in the background, with words both ways.
begin() {
	mkfifo "$tmp/to" "$tmp/from"
	"$hot" "$@" <"$tmp/to" >"$tmp/from" 2>"$tmp/hot.log" &
	hot_pid=$!
	exec 5>"$tmp/to" 6<"$tmp/from"
	rm "$tmp/to" "$tmp/from"
}
cleanup_fn 'kill -KILL ${hot_pid:-} 2>/dev/null'
hears() {
	local word
	read -r -t "$(slower 60)" -u 6 word || die "no $1: it ended, or hangs"
	[ "$word" = "$1" ] || die "$word, not $1"
}
ends() {
	wait "$hot_pid" || die "$1: $(cat "$tmp/hot.log")"
	say "ok: $1"
}
