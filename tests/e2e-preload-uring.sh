#!/bin/bash
# io_uring on our files: each operation through liburing and through system calls, its results compared
# with a local directory's; order (links, IO_DRAIN, timeouts); rings of all kinds under load. With liburing
# in the program itself the same in full mode, and errors without.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd
uring=$(find_built preload-uring) && inline=$(find_built preload-uring-inline) ||
	die 'preload-uring is not built'
mkdir "$tmp/probe"
"$uring" raw links "$tmp/probe" >/dev/null 2>&1 || skip 'no io_uring here'

start_cluster 2

# same WHAT HOW PART PROGRAM: PART on a local directory and on the prefix.
same() {
	local what=$1 how=$2 part=$3 program=$4 status
	rm -rf "$tmp/l"
	mkdir "$tmp/l"
	timeout 60 "$program" "$how" "$part" "$tmp/l" >"$tmp/want" ||
		{ tail -n 3 "$tmp/want"; die "$what: the local run of $part"; }
	on rm -rf "$prefix/l"
	on mkdir "$prefix/l"
	on timeout 60 "$program" "$how" "$part" "$prefix/l" >"$tmp/got" 2>&1
	status=$?
	diff "$tmp/want" "$tmp/got" || die "$what, $part: not what a local directory gives"
	[ $status -eq 0 ] || die "$what, $part: exit $status"
	say "ok: $what, $part: $(wc -l <"$tmp/got") lines"
}

same 'each function' liburing names "$uring"
for how in liburing raw; do
	for part in operations links many fields; do same "$how" "$how" "$part" "$uring"; done
	equal "$how, IOPOLL" "IOPOLL: 2000 blocks
IOPOLL, SQPOLL: 2000 blocks
IOPOLL refuses fsync: 1=-EINVAL 2=1" "$(on timeout 60 "$uring" $how polled "$prefix/l")"
	equal "$how, switched off" 38 \
		"$(FF3FS_URING=off on "$uring" $how errno "$prefix/l" | tail -n 1)"
done

# A program that has always used it: disk images.
images() {
	cat >"$tmp/images.sh" <<-'SH'
	qemu-img create -q -f qcow2 $1.qcow2 16M
	qemu-io -f qcow2 -i io_uring -t none -c 'write -P 0x5a 0 4M' -c 'aio_write -P 0x77 8M 1M' \
		-c 'aio_write -P 0x78 9M 1M' -c 'aio_flush' -c 'write -z 12M 64k' -c 'discard 2M 64k' $1.qcow2
	qemu-io -r -f qcow2 -i io_uring -c 'read -P 0x5a 0 2M' -c 'read -P 0x77 8M 1M' -c 'read -P 0x78 9M 1M' \
		-c 'read -P 0 12M 64k' $1.qcow2
	qemu-img check $1.qcow2
	qemu-img bench -q -c 200 -d 16 -i io_uring -t none -f qcow2 $1.qcow2
	qemu-img convert -T none -O raw $1.qcow2 $1.raw
	qemu-img compare $1.qcow2 $1.raw
	md5sum <$1.raw
	SH
	"$@" bash "$tmp/images.sh" "$where/image" 2>&1 | grep -v -e 'ops' -e '^Run completed' | sort
}
# (QEMU's coroutines change stacks, which AddressSanitizer only warns of.)
if [ -z "$sanitizer_runtime" ] && command -v qemu-io >/dev/null; then
	where=$tmp images env >"$tmp/want"
	where=$prefix images on >"$tmp/got"
	diff "$tmp/want" "$tmp/got" || die 'qemu-img: not what a local directory gives'
	grep -q 'Images are identical' "$tmp/got" || die 'qemu-img does not work here'
	say 'ok: qemu-img, qemu-io'
fi

# Not by a function that could be interposed.
on "$inline" liburing operations "$prefix/l" >"$tmp/got" 2>&1
equal 'liburing inside the program' 'write: 1=-EPERM' "$(head -n 1 "$tmp/got")"
export FF3FS_INTERCEPT=full
for part in operations links many; do same 'in full mode' liburing $part "$inline"; done

# fio enters its rings by the instruction.
command -v fio >/dev/null || exit 0
for how in '' --direct=1 '--registerfiles=1 --fixedbufs=1' --sqthread_poll=1 --hipri=1; do
	on rm -f "$prefix"/fio.*
	check "fio $how" on timeout 60 fio --name=fio --directory="$prefix" --ioengine=io_uring --rw=randrw --bs=4k \
		--iodepth=16 --size=1m --verify=crc32c --verify_fatal=1 --output-format=terse $how
	equal 'and its error' 0 "$(tail -n 1 "$tmp/check.out" | cut -d ';' -f 5)"
done
