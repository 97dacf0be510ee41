#!/bin/bash
# Linux AIO (preload_aio.c), by system calls and by libaio's functions, and POSIX aio
# (preload_posix_aio.c): results and errors as on a local directory; thousands in flight, waiting
# threads, the end of contexts; fio checks its data.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs-metad ff3fs-chunkd
. "$srcdir/tests/away.sh"
export UNALIGNED=1

start_cluster 3
# For later; nothing else is in the cluster yet.
make_away 60

# To ThreadSanitizer (of gcc 12) threads of the parent live on in a forked child, and one that gets the address of
# such a one ends it ("dup thread").
case ${SANITIZE_FLAGS:-} in *thread*) export UNFORKED=1 ;; esac
for way in '' libaio; do
	rm -rf "$tmp/local"
	mkdir "$tmp/local"
	(unset UNALIGNED; timeout 30 "$calls" calls "$tmp/local" $way) >"$tmp/want"
	status=$?
	if [ -n "$way" ] && [ $status -eq 77 ]; then say 'no libaio'; continue; fi
	[ $status -eq 0 ] || die "the local run: exit $status"
	on mkdir "$prefix/calls$way" || die mkdir
	check "calls ${way:-by syscall}" on "$calls" calls "$prefix/calls$way" $way
	diff "$tmp/want" "$tmp/check.out" || die 'not what a local directory gives'
	check "thousands in flight ${way:-by syscall}" on "$calls" many "$prefix/calls$way" $way
	check "waiting threads ${way:-by syscall}" on "$calls" threads "$prefix/calls$way" $way
	check "the end ${way:-by syscall}" on "$calls" ends "$prefix/calls$way" $way
done

posix_aio() {
	local posix
	posix=$(find_built preload-posix-aio) || die 'preload-posix-aio is not built'
	rm -rf "$tmp/local"
	mkdir "$tmp/local"
	timeout 30 "$posix" "$tmp/local" >"$tmp/want" || die "the local run of POSIX aio: exit $?"
	on mkdir "$prefix/posix" || die mkdir
	check 'POSIX aio' on env CANCEL_MANY=1 "$posix" "$prefix/posix"
	diff "$tmp/want" "$tmp/check.out" || die 'not what a local directory gives'
	check 'POSIX aio after fork' on env FORKED=1 "$posix" "$prefix/posix"
	tail -n 4 "$tmp/check.out" | grep -v ' = 0$' >"$tmp/got"
	equal 'a child and its parent' 'in the child: error 0, return 4
child 0
in the parent: error 0, return 4' "$(cat "$tmp/got")"
}
# ThreadSanitizer sees neither libc's threads for it, by which the control ends, nor libc's aio_error.
case ${SANITIZE_FLAGS:-} in
*thread*) say 'skipped: POSIX aio, for the sanitizer' ;;
*) posix_aio ;;
esac

away 'a stopped daemon' stop go_on
away 'a stopped daemon, not connected' stop go_on UNCONNECTED=1
away 'writes to a stopped daemon' stop go_on WRITES=1
check 'what they held' on "$calls" fill "$prefix/away" 60
away 'a killed daemon' end 'start_chunkd 3'
away 'writes to a killed daemon' end 'start_chunkd 3' WRITES=1

# fio forks, too, and its own threads have races.
case ${SANITIZE_FLAGS:-} in *thread*) say 'skipped: fio, for the sanitizer'; exit 0 ;; esac
command -v fio >/dev/null || { say 'no fio on this machine'; exit 0; }
verified() { # verified WHAT OPTION…
	local what=$1
	shift
	check "fio $what" on fio --name=x --verify=crc32c --verify_fatal=1 --do_verify=1 --size="${FIO_SIZE:-8m}" \
		--iodepth=64 --group_reporting --output-format=terse "$@"
}
cd "$tmp" || exit 1 # fio leaves its state there
for engine in libaio posixaio; do
	verified "$engine direct" --ioengine=$engine --directory="$prefix" --direct=1 --rw=randrw --bs=4k --numjobs=3
	verified "$engine unaligned" --ioengine=$engine --directory="$prefix" --rw=randwrite \
		--bsrange=512-64k --bs_unaligned=1 --norandommap=0 --numjobs=2 --thread
	verified "$engine, native files as well" --ioengine=$engine \
		--filename="$prefix/mixed:$tmp/mixed" --rw=randwrite --bs=8k --fsync=32
done
