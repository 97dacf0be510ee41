#!/bin/bash
# Directories of very many names: made, listed, moved, and removed by one call, in the background, past
# a metad that is killed meanwhile; files of it that are open stay readable; the space comes back; who
# may not remove something of a tree one by one may not by one call. SCALE=full: a million names.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires curl ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
drive=$(find_built names_drive) || skip 'names_drive is not built'
n=20000
[ "${SCALE:-}" = full ] && n=1000000
export FF3FS_METAD_LEASE=2s FF3FS_METAD_MEMORY=${MEMORY:-64M}
start_cluster 2
mkfifo "$tmp/never"

status() { curl -sf "http://$metad_admin/v1/status" | sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p"; }
chunks() {
	local i sum=0
	for i in 1 2; do
		sum=$((sum + $(curl -sf "http://${chunkd_admin[$i]}/v1/targets" | sed -n 's/.*"chunks": \([0-9]*\).*/\1/p')))
	done
	echo $sum
}
# await WHAT COMMAND…: until it succeeds, for 30 s at most.
await() {
	local what=$1 i
	shift
	for ((i = 0; i < 300; i++)); do
		"$@" && { say "ok: $what"; return; }
		read -r -t 0.1 <>"$tmp/never"
	done
	die "$what"
}
timed() { # timed WHAT COMMAND…
	local what=$1 t=$EPOCHREALTIME
	shift
	check "$what" "$@"
	say "$what: $(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $t }") s"
}

check 'mkdir' ff3fs mkdir -p "$prefix/a/big" "$prefix/b" "$prefix/c"
before=$(status inodes)
"$drive" make a/big "$n" 64 || die 'make'
equal 'inodes' $((before + n)) "$(status inodes)"
"$drive" list a/big | tee "$tmp/list" || die 'list'
grep -q "^list $n names" "$tmp/list" || die 'not all are listed'
timed "a directory of $n names moves to another" ff3fs mv "$prefix/a/big" "$prefix/b/big"
moved=$((n / 10))
check 'mkdir' ff3fs mkdir "$prefix/b/other"
"$drive" move b/big b/other "$moved" 64 || die 'move'
"$drive" list b/other | grep "^list $moved names" || die 'not all have moved'
"$drive" move b/other b/big "$moved" 64 || die 'move back'

# --- The tree goes at once, what is in it in the background ------------------------------------------
mkfifo "$tmp/hold.in" "$tmp/hold.out"
printf 'still here!' >"$tmp/text"
head -c 3000000 /dev/urandom >"$tmp/data"
check 'mkdir' ff3fs mkdir -p "$prefix/b/big/deep/er"
for i in 1 2 3 4; do check 'put' ff3fs-put -q "$tmp/data" "$prefix/b/big/deep/er/data$i"; done
check 'put' ff3fs-put -q "$tmp/text" "$prefix/b/big/deep/text"
equal 'chunks' 13 "$(chunks)"
"$drive" hold b/big/deep/text <"$tmp/hold.in" >"$tmp/hold.out" &
hold=$!
exec 7>"$tmp/hold.in" 8<"$tmp/hold.out"
read -r line <&8
equal 'a file in it is open' held "$line"
timed "rm -r of $n names" ff3fs rm -r "$prefix/b"
fails 'its name is gone' 4 ff3fs stat "$prefix/b"
fails 'and may be used again' 0 ff3fs mkdir "$prefix/b"
fails 'empty' 0 ff3fs ls "$prefix/b"
[ ! -s "$tmp/out" ] || die 'the new directory is not empty'
left=$(status inodes)
[ "$left" -gt $((before + n / 20)) ] || die "nothing was left to the background: $left inodes"
equal 'the status tells' 1 "$(status removals)"

# Killed amid it; it goes on by itself.
kill_daemon "$metad_pid"
start_metad
fails 'its name is still gone' 0 ff3fs ls "$prefix/b"
echo >&7
read -r line <&8
equal 'the open file is read' 'read 11 still here!' "$line"
began=$EPOCHSECONDS
SCALE_LIMIT=$((30 + n / 10000))
for ((i = 0; i < 10 * SCALE_LIMIT; i++)); do
	[ "$(status inodes)" -le "$before" ] && break
	read -r -t 0.1 <>"$tmp/never"
done
# The open file is in big's place.
equal "what was in it is gone after $((EPOCHSECONDS - began)) s" "$before" "$(status inodes)"
await 'and the space of what is not open' test "$(chunks)" = 1
equal 'one removal is not over' 1 "$(status removals)"
echo >&7
read -r line <&8
equal 'the open file is read again' 'read 11 still here!' "$line"
echo q >&7
wait $hold || die 'hold'
gone() { [ "$(status removals)" = 0 ] && [ "$(chunks)" = 0 ]; }
await 'it goes when it is closed' gone
equal 'inodes' $((before - 1)) "$(status inodes)"

# --- Waiting for it ------------------------------------------------------------------------------------
check 'mkdir' ff3fs mkdir -p "$prefix/w/d1/d2" "$prefix/w/d3"
"$drive" make w/d1 300 16 || die 'make'
check 'put' ff3fs-put -q "$tmp/data" "$prefix/w/d1/d2/data"
check 'mkdir' ff3fs mkdir -p "$prefix/w/kept"
check 'put' ff3fs-put -q "$tmp/text" "$prefix/w/kept/text"
check 'a second name' on ln "$prefix/w/kept/text" "$prefix/c/text"
check 'a link' on ln -s nowhere "$prefix/w/link"
fails 'rm -r --wait' 0 ff3fs rm -r --wait --json "$prefix/w"
equal 'it says what is gone' '{"files":303,"directories":5,"trees":1,"failed":0,"dry_run":false}' "$(cat "$tmp/out")"
equal 'the space is free but for the file with another name' 1 "$(chunks)"
equal 'that one is as it was' 'still here! 1' "$(on cat "$prefix/c/text") $(on stat -c %h "$prefix/c/text")"
curl -sf "http://$metad_admin/v1/removals" >"$tmp/removals" || die '/v1/removals'
grep -q '"names": 303' "$tmp/removals" || { cat "$tmp/removals"; die '/v1/removals does not know of it'; }
curl -sSf "http://$metad_admin/metrics" >"$tmp/metrics" || die '/metrics'
grep -q '^ff3fs_metad_removals 0$' "$tmp/metrics" || { cat "$tmp/metrics"; die '/metrics: one removal is not over'; }

# --- Errors, and who may ---------------------------------------------------------------------------------
refuses 'the root' 'refusing' ff3fs rm -r "$prefix"
refuses 'nothing' 'No such file' ff3fs rm -r "$prefix/none"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$tmp"
	nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
	check 'mkdir' ff3fs mkdir -m 777 "$prefix/p"
	tree() {
		check 'mine' nobody "$(command -v ff3fs)" mkdir -p "$prefix/p/t/mine/x" "$prefix/p/t/y"
		check 'and a file' nobody "$(command -v ff3fs-put)" -q "$tmp/text" "$prefix/p/t/mine/x/file"
	}
	tree
	fails 'a tree of my own' 0 nobody "$(command -v ff3fs)" rm -r --json "$prefix/p/t"
	grep -q '"trees":1' "$tmp/out" || die 'not by one call'
	tree
	check "somebody else's directory" ff3fs mkdir "$prefix/p/t/y/theirs"
	fails 'one that is empty is no hindrance' 0 nobody "$(command -v ff3fs)" rm -r --json "$prefix/p/t"
	grep -q '"trees":1' "$tmp/out" || die 'not by one call'
	tree
	check "somebody else's directory" ff3fs mkdir "$prefix/p/t/y/theirs"
	check 'with something in it' ff3fs-put -q "$tmp/text" "$prefix/p/t/y/theirs/file"
	fails 'a tree with that' 3 nobody "$(command -v ff3fs)" rm -r --json "$prefix/p/t"
	grep -q 'theirs.*Permission denied' "$tmp/err" || { cat "$tmp/err"; die 'the reason is not told'; }
	equal 'what may go is gone' "$prefix/p/t:
y

$prefix/p/t/y:
theirs

$prefix/p/t/y/theirs:
file" "$(on ls -R "$prefix/p/t")"
	check 'by root' ff3fs rm -r "$prefix/p/t"
	check 'a sticky directory' ff3fs mkdir -m 777 "$prefix/p/s"
	check 'chmod' on chmod 1777 "$prefix/p/s"
	check 'a file of mine' nobody "$(command -v ff3fs-put)" -q "$tmp/text" "$prefix/p/s/file"
	check "a file of theirs" ff3fs-put -q "$tmp/text" "$prefix/p/s/theirs"
	fails 'a sticky directory of theirs' 3 nobody "$(command -v ff3fs)" rm -r "$prefix/p/s"
	equal 'only mine went' theirs "$(on ls "$prefix/p/s")"
fi

# --- rm -rf of others: a call for each name and little else ------------------------------------------------
check 'mkdir' ff3fs mkdir -p "$prefix/plain"
"$drive" make plain 2000 64 || die 'make'
requests() { curl -sf "http://$metad_admin/metrics" | awk '/^ff3fs_metad_request_duration_seconds_count/ { n += $2 } END { print n }'; }
began=$(requests)
timed 'rm -rf under the shim, 2000 names' on rm -rf "$prefix/plain"
n_requests=$(($(requests) - began))
say "rm -rf of 2000 names: $n_requests requests"
fails 'it is gone' 4 ff3fs stat "$prefix/plain"
[ "$n_requests" -le 2200 ] || die "$n_requests requests for 2000 names"
