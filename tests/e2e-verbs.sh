#!/bin/bash
# limit: 560
# RDMA against the kernel's own verbs, in a virtual machine (tests/vm): one boot for all of
# tests/vm/rdma-*.sh.
# transport: verbs (in a virtual machine)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
find_built libff3fs_verbs.so >/dev/null || skip 'configured without verbs'
# Five minutes alone; beside other tests the emulation is slower.
VM_SECONDS=${VM_SECONDS:-540} bash "$srcdir/tests/vm/machine.sh" bash "$srcdir/tests/vm/all.sh" "$@" 2>&1 | tee "$tmp/out"
status=${PIPESTATUS[0]}
[ "$status" -eq 77 ] && skip "$(sed -n 's/^machine: skipped: //p' "$tmp/out")"
[ "$status" -eq 0 ] || die "status $status"
