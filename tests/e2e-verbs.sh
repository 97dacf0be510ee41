#!/bin/bash
# limit: 900
# RDMA against the kernel's own verbs, in a virtual machine (tests/vm): one boot for all of
# tests/vm/rdma-*.sh.
#
#   e2e-verbs.sh [NAME…]         tests/vm/rdma-NAME.sh; all of them by default
#   e2e-verbs.sh suite TEST…     tests of tests/, whose clients come by verbs alone, in one boot; for one of them
#                                TRANSPORT=verbs is shorter
# transport: none (it has its own)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
find_built libff3fs_verbs.so >/dev/null || skip 'configured without verbs'
script=all
if [ "${1:-}" = suite ]; then
	script=suite
	shift
	export VM_MEMORY=${VM_MEMORY:-4096} VM_DISK=${VM_DISK:-2048}
fi
# Some minutes alone; beside other tests the emulation is slower.
VM_SECONDS=${VM_SECONDS:-880} bash "$srcdir/tests/vm/machine.sh" bash "$srcdir/tests/vm/$script.sh" "$@" 2>&1 | tee "$tmp/out"
status=${PIPESTATUS[0]}
[ "$status" -eq 77 ] && skip "$(sed -n 's/^machine: skipped: //p' "$tmp/out")"
[ "$status" -eq 0 ] || die "status $status"
