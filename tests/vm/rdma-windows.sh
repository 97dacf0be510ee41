#!/bin/bash
# Memory windows, a peer that is silent, and forks after them. The last of the scripts: Soft-RoCE of Linux 6.1 may need a
# minute to be rid of a process that had a window, and makes others wait meanwhile.
. "${srcdir:-$(dirname "$0")/../..}/tests/functions.sh"
[ -x "$builddir/tests/unit-verbs" ] || die 'unit-verbs is not built'
export FF3FS_TEST_RDMA=10.99.0.1
check 'bound, used, revoked; a silent peer; forks' env CK_RUN_CASE=windows timeout 100 "$builddir/tests/unit-verbs"
