#!/bin/bash
# Random operations as on a local directory, over verbs alone: one of the tests that run over every transport. Others:
# e2e-verbs.sh suite.
top=$(cd "$(dirname "$0")/../.." && pwd)
SEEDS=1 OPERATIONS=${OPERATIONS:-250} TRANSPORT=verbs exec bash "$top/tests/e2e-posix.sh"
