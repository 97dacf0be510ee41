# Sourced after functions.sh by tests of requests to a daemon that is away, which is the third of three: it keeps
# its own files' requests, and nobody else's.

calls=$(find_built preload-aio) || die 'preload-aio is not built'

# make_away FILES: files for it, while nothing else is in the cluster.
make_away() {
	n_files=$1
	on mkdir "$prefix/away" || die mkdir
	check 'files on three daemons' on "$calls" fill "$prefix/away" "$n_files"
	n_away=$(curl -sf "http://${chunkd_admin[3]}/v1/targets" | sed -n 's/.*"chunks": \([0-9]*\).*/\1/p')
	[ "$n_away" -gt 0 ] && [ "$n_away" -lt "$n_files" ] || die "$n_away of $n_files files are on daemon 3"
}

# away WHAT GO COME [VAR=VALUE…]: the daemon goes by the command GO and comes back by COME.
away() {
	local what=$1 go=$2 come=$3 line pid
	shift 3
	mkfifo "$tmp/in" "$tmp/out"
	on env "$@" "$calls" away "$prefix/away" "$n_files" "$n_away" <"$tmp/in" >"$tmp/out" 2>"$tmp/away.err" &
	pid=$!
	exec 7>"$tmp/in" 8<"$tmp/out"
	read -r -t "$(slower 60)" line <&8 || cat "$tmp/away.err"
	equal "$what: before" ready "$line"
	$go
	echo >&7
	read -r -t "$(slower 60)" line <&8 || cat "$tmp/away.err"
	equal "$what: other daemons' requests" others "$line"
	$come
	echo >&7
	read -r -t "$(slower 60)" line <&8 || cat "$tmp/away.err"
	equal "$what: its own, when it is back" all "$line"
	exec 7>&- 8<&-
	wait "$pid"
	rm "$tmp/in" "$tmp/out"
}
# Mappings of other clusters on this machine are none of ours.
mkdir "$tmp/maps"
export FF3FS_MMAP_DIR=$tmp/maps
# One thread takes the signal and stops the others as soon as it runs.
up() { grep -L '^State:.T' $(grep -L '^Name:.iou-' /proc/"$1"/task/*/status); }
stop() {
	kill -STOP "${chunkd_pid[3]}"
	while [ -n "$(up "${chunkd_pid[3]}")" ]; do :; done
}
go_on() { kill -CONT "${chunkd_pid[3]}"; }
end() { kill_daemon "${chunkd_pid[3]}" KILL; }
