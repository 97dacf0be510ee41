#!/bin/bash
# The admin endpoints of both daemons: every path, its JSON, its metrics (promtool judges them where
# it is installed), its errors; and ff3fs-admin, which uses nothing else.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-admin curl
requires_python json
unset FF3FS_CONF

dir=$tmp/cluster
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'
check 'cluster' ff3fs dev up --dir "$dir" --host "$test_host" --chunkd 2 --memory 64M --prefix /t
eval "$(ff3fs dev env --dir "$dir")"
ff3fs dev status --json >"$tmp/status" || die 'status'
admin_of() {
	/usr/bin/python3 -c "
import json
print([x['admin'] for x in json.load(open('$tmp/status'))['daemons'] if x['name'] == '$1'][0])"
}
metad=$(admin_of metad) chunkd=$(admin_of chunkd1)
ff3fs mkdir -p '/t/a b/é' && ff3fs layout set --chunk-size 2M --stripe 1 '/t/a b' || die 'mkdir'
printf x | ff3fs-put -q - '/t/a b/é/file' || die 'put'

# get STATUS ADDRESS PATH [CURL OPTION…]: the body is in $tmp/out.
get() {
	local want=$1 url=http://$2$3 got
	shift 3
	got=$(curl -s -o "$tmp/out" -D "$tmp/head" -w '%{http_code}' "$@" "$url")
	[ "$got" = "$want" ] || { cat "$tmp/head" "$tmp/out"; die "$url: status $got, not $want"; }
	say "ok: $want from ${url#http://*/}"
}
json() { /usr/bin/python3 -c "import json; d = json.load(open('$tmp/out')); print($1)"; }
type_is() { grep -qi "^content-type: $1" "$tmp/head" || die "content type: $(cat "$tmp/head")"; }

for address in "$metad" "$chunkd"; do
	get 200 "$address" /healthz
	get 200 "$address" /readyz
	get 200 "$address" /v1/status
	type_is application/json
	equal 'status: version' "$(ff3fs version | cut -d' ' -f2)" "$(json 'd["version"]')"
	get 200 "$address" /v1/targets
	equal 'targets: a list' True "$(json 'len(d["items"]) >= 1 and d["next"] is None')"
	equal 'targets: fields' True "$(json 'all(t["capacity"] > 0 and t["used"] >= 0 and t["state"] == "serving" and len(t["target"]) == 16 for t in d["items"])')" ||
		cat "$tmp/out"
	get 200 "$address" /metrics
	type_is text/plain
	grep -q '^ff3fs_build_info{' "$tmp/out" || die 'no ff3fs_build_info'
	/usr/bin/python3 - "$tmp/out" <<'PY' || die 'metrics are not well formed'
import re, sys
types, seen = {}, set()
for line in open(sys.argv[1]):
    line = line.rstrip("\n")
    if line.startswith("# TYPE "):
        _, _, name, kind = line.split(" ", 3)
        assert name not in types, f"{name} twice"
        types[name] = kind
    elif line.startswith("#"):
        assert line.startswith("# HELP "), line
    else:
        m = re.fullmatch(r'([a-z_][a-z0-9_]*)(\{[^}]*\})? ([-+0-9.e]+|NaN|[+-]Inf)', line)
        assert m, line
        base = re.sub(r'_(bucket|sum|count)$', '', m[1])
        name = base if types.get(base) == "histogram" else m[1]
        assert name in types, f"{name} has no TYPE"
        assert (m[1], m[2]) not in seen, f"{m[1]}{m[2]} twice"
        seen.add((m[1], m[2]))
        if types[name] == "counter":
            assert name.endswith("_total"), f"{name} is a counter without _total"
        if not name.startswith("process_"):
            assert name.startswith("ff3fs_"), name
assert len(types) > 8, types
PY
	if command -v promtool >/dev/null; then
		check 'promtool' bash -c "promtool check metrics <'$tmp/out'"
	fi
	get 404 "$address" /nothing
	type_is application/problem+json
	equal 'problem: code' NOT_FOUND "$(json 'd["code"]')"
	get 405 "$address" /v1/status -X DELETE
	grep -qi '^allow: .*GET' "$tmp/head" || die 'no Allow'
	get 421 "$address" /v1/status -H 'Host: evil.example'
	curl -s -I "http://$address/v1/status" >"$tmp/out" || die HEAD
	grep -q '^HTTP/1.1 200' "$tmp/out" || die "HEAD: $(cat "$tmp/out")"
done

get 200 "$metad" /v1/status
equal 'metad: state' healthy "$(json 'd["state"]')"
equal 'metad: counts' '2 2 2' "$(json '" ".join(str(d[k]) for k in ("nodes", "targets", "chains"))')"
get 200 "$metad" /v1/nodes
equal 'nodes' '2 up up' "$(json '" ".join([str(len(d["items"]))] + [n["state"] for n in d["items"]])')"
get 200 "$metad" /v1/chains
equal 'chains' True "$(json 'len(d["items"]) == 2 and all(len(c["members"]) == 1 and c["version"] >= 1 for c in d["items"])')"
get 200 "$metad" '/v1/layouts/a%20b/%C3%A9/file'
equal 'layout' '2097152 1' "$(json '"%d %d" % (d["chunk_size"], len(d["chains"]))')"
get 200 "$metad" /v1/layouts/
get 404 "$metad" /v1/layouts/none
equal 'no layout: code' ENOENT "$(json 'd["code"]')"

fails 'ff3fs-admin status' 0 ff3fs-admin status
grep -q HEALTHY "$tmp/out" || die "$(cat "$tmp/out")"
fails 'ff3fs-admin status --json' 0 ff3fs-admin status --json
equal 'state' healthy "$(json 'd["state"]')"
fails 'ff3fs admin nodes' 0 ff3fs admin nodes
equal 'nodes' 2 "$(grep -c ' up ' "$tmp/out")"
fails 'ff3fs-admin nodes --json' 0 ff3fs-admin nodes --json
equal 'nodes' 2 "$(json 'len(d["items"])')"
fails 'ff3fs-admin layout' 0 ff3fs-admin layout '/t/a b/é/file'
grep -q 'chunk size 2.0 MiB, stripe 1' "$tmp/out" || die "$(cat "$tmp/out")"
fails 'ff3fs-admin layout of nothing' 4 ff3fs-admin layout /t/none
[ -s "$tmp/out" ] && die 'stdout is not empty'
fails 'ff3fs-admin without words' 2 ff3fs-admin
fails 'ff3fs-admin with a wrong word' 2 ff3fs-admin fly
fails 'ff3fs-admin layout without a path' 2 ff3fs-admin layout
fails 'ff3fs-admin at a wrong address' 5 ff3fs-admin --admin 127.0.0.1:1 status
FF3FS_ADMIN=$chunkd fails 'ff3fs-admin nodes of a chunk daemon' 4 ff3fs-admin nodes

# A node that is gone is seen.
check 'kill' ff3fs dev kill chunkd 2
check 'it is seen' bash -c 'for i in {1..600}; do ff3fs-admin nodes | grep -q " down " && exit 0; read -r -t 0.1 <> <(:); done; exit 1'
fails 'status is degraded' 0 ff3fs-admin status
grep -q DEGRADED "$tmp/out" || die "$(cat "$tmp/out")"
