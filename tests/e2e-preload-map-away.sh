#!/bin/bash
# A mapping whose pages are loaded when touched, and a cluster that is away meanwhile: SIGBUS, EFAULT in a system
# call, also in a child; and all of the data, and what was stored, when the cluster is back.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
away=$(find_built preload-map-away) || die 'preload-map-away is not built'
own_map_dir
[ $lazily = yes ] || skip 'pages that are loaded when touched need root'

start_cluster 2
check 'a file' on "$away" make "$prefix/m"
export FF3FS_MMAP_EAGER_MAX=64K FF3FS_CLIENT_TIMEOUT=$(slower 1)s

asks() { # asks WHAT WANT COMMAND
	[ -z "${3:-}" ] || echo "$3" >&"${job[1]}"
	answer=
	read -r -t "$(slower 40)" -u "${job[0]}" answer
	equal "$type: $1" "$2" "$answer"
}
leave() { for i in 1 2; do kill_daemon "${chunkd_pid[$i]}"; done; }
# The page is refused for a moment, in which the cluster may have come back.
is_back() { echo "$1" >&"${job[1]}" && read -r -t "$(slower 40)" -u "${job[0]}" answer && [ "$answer" = 'data data' ]; }
comes_back() {
	start_chunkd 1
	start_chunkd 2
	local limit=$((SECONDS + $(slower 30)))
	until is_back same; do [ $SECONDS -lt $limit ] || die "$type: the cluster is back: $answer"; done
	say "ok: $type: the cluster is back"
}

for type in shared private; do
	coproc job { on "$away" $type "$prefix/m"; }
	job_pid=$job_PID # which bash forgets when it ends
	pids+=("$job_pid")
	asks 'a mapping' ready
	asks 'the cluster is there' 'data data' next
	leave
	asks 'the cluster is away' 'SIGBUS EFAULT' next
	asks 'again' 'SIGBUS EFAULT' same
	asks 'a store' SIGBUS store
	asks 'a child is made' forked fork
	asks 'and looks' 'SIGBUS EFAULT' child
	asks 'another one' forked fork
	comes_back
	asks 'it looks when the cluster is back' 'data data' child
	asks 'a store' stored store
	asks 'every byte' whole all
	leave
	asks 'what was loaded stays, what was stored too' whole all
	start_chunkd 1
	start_chunkd 2
	exec {job[1]}>&-
	wait "$job_pid" || die "$type: status $?"
	[ $type = private ] || check 'the file again' on "$away" make "$prefix/m"
done
nothing_mapped 'a cluster that was away'
