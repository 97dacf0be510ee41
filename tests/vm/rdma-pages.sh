#!/bin/bash
# Mappings while the cluster is away, by a kernel that knows no poisoned pages (Linux 6.6 does): the guest's.
top=$(cd "$(dirname "$0")/../.." && pwd)
ONLY=private TRANSPORT=verbs exec bash "$top/tests/e2e-preload-map-away.sh"
