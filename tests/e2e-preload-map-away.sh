#!/bin/bash
# A mapping whose pages are loaded when touched, and a cluster that is away meanwhile: SIGBUS, EFAULT in a system
# call, also in a child; and all of the data, and what was stored, when the cluster is back. With what this kernel's
# userfaultfd can, and with what the oldest one's could. ONLY=private: that alone.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
away=$(find_built preload-map-away) || die 'preload-map-away is not built'
own_map_dir
[ $lazily = yes ] || skip 'pages that are loaded when touched need root'

start_cluster 2
export FF3FS_MMAP_EAGER_MAX=64K

ask() { # ask COMMAND: $answer
	echo "$1" >&"${job[1]}"
	answer=
	read -r -t "$(slower 40)" -u "${job[0]}" answer
	[ $poison = yes ] || answer=${answer/SIGSEGV/SIGBUS} # see map_refuse.c
}
asks() { ask "$3" && equal "$type: $1" "$2" "$answer"; } # asks WHAT WANT COMMAND
leave() { for i in 1 2; do kill_daemon "${chunkd_pid[$i]}"; done; }
come_back() { for i in 1 2; do start_chunkd $i; done; }
# A page is refused for a moment, in which the cluster may have come back.
soon() { # soon WHAT WANT COMMAND
	local limit=$((SECONDS + $(slower 30)))
	until ask "$3" && [ "$answer" = "$2" ]; do
		[ -n "$answer" ] && [ $SECONDS -lt $limit ] || die "$type: $1: $answer"
	done
	say "ok: $type: $1"
}

for type in 'private basic' 'shared basic' private shared; do
	[ "${ONLY:-$type}" = "$type" ] || continue
	check 'a file' on "$away" make "$prefix/m"
	export FF3FS_MMAP=${type#* }
	poison=no
	[[ $type == *basic || $(printf '6.6\n%s\n' "$(uname -r)" | sort -V | head -n 1) != 6.6 ]] || poison=yes
	coproc job { FF3FS_CLIENT_TIMEOUT=$(slower 1)s on "$away" "${type% *}" "$prefix/m"; }
	job_pid=$job_PID # which bash forgets when it ends
	pids+=("$job_pid")
	read -r -t "$(slower 40)" -u "${job[0]}" answer
	equal "$type: a mapping" ready "$answer"
	ask next
	soon 'the cluster is there' 'data data' same
	soon 'a few pages are stored into' 3 'sweep 3'
	leave
	asks 'the cluster is away' 'SIGBUS EFAULT' next
	asks 'stores go on where the pages end' SIGBUS 'sweep 100'
	asks 'the same page again' 'SIGBUS EFAULT' same
	asks 'a child is made at once' forked fork
	come_back
	asks 'it has the data when the cluster is back' 'data data' until
	soon 'so does its parent' 'data data' same
	soon 'its stores go on' 100 'sweep 100'
	soon 'a store beside it' stored store
	leave
	asks 'the cluster is away again' 'SIGBUS EFAULT' next
	asks 'another child is made' forked fork
	asks 'and looks' 'SIGBUS EFAULT' once
	come_back
	soon 'the cluster is back' 'data data' same
	soon 'every byte' whole all
	leave
	asks 'what was loaded stays, what was stored too' whole all
	come_back
	exec {job[1]}>&-
	wait "$job_pid" || die "$type: status $?"
done
nothing_mapped 'a cluster that was away'
