#!/bin/bash
# Who may include whom. A folder includes its own headers and common/, never another folder;
# inside common/ only downwards: base < wire < net < client, admin. Some libraries have one door.
# Tests may look everywhere.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/lint.sh"

lint() {
	(cd "$1" && files . >"$tmp/list" && grep -E '\.[ch]$' "$tmp/list" | xargs awk -v list="$tmp/list" '
	function folder(path,   part) {
		if (path ~ /^common\//) { split(path, part, "/"); return part[1] "/" part[2] }
		sub(/\/.*/, "", path)
		return path
	}
	# "a/b/../c" without the dots
	function normal(path,   n, i, part, out, depth) {
		n = split(path, part, "/"); depth = 0
		for (i = 1; i <= n; i++) {
			if (part[i] == "." || part[i] == "") continue
			if (part[i] == "..") { depth--; continue }
			out[++depth] = part[i]
		}
		path = out[1]
		for (i = 2; i <= depth; i++) path = path "/" out[i]
		return path
	}
	function bad(why) { print FILENAME ":" FNR ": " why }
	BEGIN {
		while ((getline f < list) > 0) exists[f] = 1
		level["common/base"] = 1; level["common/wire"] = 2; level["common/net"] = 3
		level["common/client"] = 4; level["common/admin"] = 4
		door["sqlite3.h"] = "^metad/db[a-z_]*\\.[ch]$|^chunkd/index\\.c$"
		door["liburing.h"] = "^common/net/loop[a-z_]*\\.[ch]$"
		door["curl/curl.h"] = "^tools/"
		door["jansson.h"] = "^common/admin/|^tools/|^(metad|chunkd)/[a-z_]*admin\\.c$"
		door["microhttpd.h"] = "^common/admin/"
		door["infiniband/verbs.h"] = "^common/net/verbs_priv\\.h$"
		door["rdma/rdma_cma.h"] = "^common/net/verbs_priv\\.h$"
		door["isa-l.h"] = "^common/base/crc32c\\.c$"
		door["isa-l/crc.h"] = "^common/base/crc32c\\.c$"
		door["fuse_lowlevel.h"] = "^tools/mount\\.h$"
		door["check.h"] = "^$"
	}
	FILENAME ~ /^tests\// { next }
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		split($0, q, "\""); mine = folder(FILENAME)
		dir = FILENAME; sub(/[^\/]*$/, "", dir)
		target = normal(dir q[2])
		made = target # schema_sql.h is made from schema.sql
		if (sub(/_sql\.h$/, ".sql", made) && made in exists) next
		if (!(target in exists)) { bad("\"" q[2] "\" is no file of the tree"); next }
		its = folder(target)
		if (its == mine) next
		if (its !~ /^common\//) { bad(mine " includes from " its); next }
		if (mine ~ /^common\// && !(its in level)) { bad("unknown folder " its); next }
		if (mine ~ /^common\// && level[its] >= level[mine]) bad(mine " includes upwards, from " its)
	}
	/^[ \t]*#[ \t]*include[ \t]*</ {
		name = $0; sub(/^[^<]*</, "", name); sub(/>.*/, "", name)
		if (name in door && FILENAME !~ door[name]) bad("<" name "> is not for this file")
	}')
}

clean
plant
echo '#include "../chunkd/store.h"' >"$copy/metad/planted.c"; echo >"$copy/chunkd/store.h"
caught 'one daemon including the other' 'metad/planted.c:1: metad includes from chunkd'
plant
echo '#include "../net/rpc.h"' >>"$copy/common/base/base.h"
caught 'an include upwards' 'common/base includes upwards, from common/net'
plant
echo '#include "../admin/planted.h"' >"$copy/common/client/planted.c"; echo >"$copy/common/admin/planted.h"
caught 'an include sideways' 'common/client includes upwards, from common/admin'
plant
echo '#include "../../preload/planted.h"' >"$copy/common/client/planted.c"; echo >"$copy/preload/planted.h"
caught 'common including the shim' 'common/client includes from preload'
plant
echo '#  include "missing.h"' >"$copy/tools/planted.c"
caught 'an include of nothing' 'is no file of the tree'
for rule in sqlite3.h:metad/planted.c liburing.h:chunkd/planted.c curl/curl.h:metad/planted.c \
	jansson.h:preload/planted.c microhttpd.h:metad/planted.c check.h:metad/planted.c; do
	plant
	echo "#include <${rule%%:*}>" >"$copy/${rule#*:}"
	caught "<${rule%%:*}> through the wrong door" "${rule#*:}:1: <${rule%%:*}>"
done
