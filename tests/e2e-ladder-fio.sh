#!/bin/bash
# fio checks the CRC of every block that it wrote, through each of its engines: in sequence, at random and
# unaligned, by two processes, with O_DIRECT, and what one process wrote in another.
# limit: 300
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd fio

start_cluster 2
cd "$tmp" || exit # where fio leaves its own files
verify='--verify=crc32c --verify_fatal=1 --do_verify=1 --output-format=terse --group_reporting'

# run WHAT OPTION…: one fio on the prefix.
run() {
	on timeout -k 5 100 fio --directory="$prefix" --name=job "${@:2}" >"$tmp/fio.out" 2>&1 ||
		{ tail -n 20 "$tmp/fio.out"; die "$1"; }
	grep -i 'error\|verify:\|bad' "$tmp/fio.out" && die "$1"
	on rm -f "$prefix"/job.*
	say "ok: $1"
}

for engine in psync sync vsync pvsync pvsync2 libaio posixaio mmap io_uring; do
	fio --enghelp 2>/dev/null | grep -qw "$engine" || { say "not run: $engine: this fio has none"; continue; }
	[ $engine = io_uring ] && export FF3FS_INTERCEPT=full # fio makes its calls by the instruction
	run "$engine in sequence" --ioengine=$engine --rw=write --bs=128k --iodepth=8 --size=4m $verify
	run "$engine at random, unaligned" --ioengine=$engine --rw=randwrite --bsrange=512-64k --bs_unaligned=1 --iodepth=8 --size=3m $verify
	run "$engine, two processes" --ioengine=$engine --rw=randrw --bs=4k --iodepth=16 --numjobs=2 --size=1m $verify
	[ $engine = mmap ] || run "$engine, O_DIRECT" --ioengine=$engine --direct=1 --rw=randwrite --bs=4k --iodepth=16 --size=1m $verify
	unset FF3FS_INTERCEPT
done

# A batch of libaio that holds native files as well, ended short by the file's end.
on fio --name=a --filename="$prefix/odd:$tmp/odd" --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k --size=1m \
	--file_service_type=random $verify >"$tmp/fio.out" 2>&1 || { tail "$tmp/fio.out"; die 'native and ours in a batch'; }
say 'ok: libaio, native and ours in a batch'

on fio --name=later --filename="$prefix/later" --ioengine=psync --rw=randwrite --bs=8k --size=4m --verify=crc32c --do_verify=0 \
	--output-format=terse >"$tmp/fio.out" 2>&1 || { tail "$tmp/fio.out"; die 'writing without a look'; }
on fio --name=later --filename="$prefix/later" --ioengine=libaio --iodepth=8 --rw=randwrite --bs=8k --size=4m --verify=crc32c \
	--verify_only --output-format=terse >"$tmp/fio.out" 2>&1 || { tail "$tmp/fio.out"; die 'verified later'; }
say 'ok: written by one process, verified by another with libaio'
run 'append and fsync' --ioengine=psync --rw=write --bs=16k --size=2m --fsync=4 --end_fsync=1 --file_append=1 --output-format=terse
run 'a thousand small files' --nrfiles=1000 --filesize=4k --size=4m --ioengine=psync --rw=randrw --bs=4k --openfiles=64 $verify
