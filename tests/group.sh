# Sourced after functions.sh by the tests of a group of metadata servers: members of it as processes on
# loopback ports, each with a directory of its own in $tmp, and a load whose every acknowledged
# operation is looked for afterwards.
#
#   group_conf N [WITNESS]        ports for N members, the last one a witness; sets $group, $addresses
#   start_member I [ARGUMENT…]    starts it; member_pid[I]
#   form_group [N [WITNESS]]      forms a group of N (3) members and waits until all vote
#   start_group [N [WITNESS]]     the same, with a chunk daemon that is none (start_node)
#   kill_member I [SIGNAL]
#   primary                       prints the ID of the member that says it is and serves; fails if none
#   wait_primary [OTHER_THAN]     sets $primary
#   seen I KEY                    of /v1/metad/members, or "" if it does not answer
#   state_of I OF                 what member I says of OF: voter, learner, replaced, outside
# Nobody is elected because a machine is slow.
export FF3FS_METAD_ELECTION=${FF3FS_METAD_ELECTION:-1s}
declare -A member_pid member_addr member_admin

group_conf() {
	local i list=()
	members=$1
	addresses=''
	for ((i = 1; i <= members; i++)); do
		member_addr[$i]=${member_host[$i]:-$test_host}:$(free_port)
		member_admin[$i]=127.0.0.1:$(free_port)
		list+=("$i@${member_addr[$i]}")
		addresses+=${addresses:+,}${member_addr[$i]}
	done
	[ -z "${2:-}" ] || list[-1]+=:witness
	group=$(IFS=,; echo "${list[*]}")
}

# For members in network namespaces of their own, tests define these two anew.
# at I [exec] COMMAND…: where member I is; exec: in place of the (sub)shell, so that its pid is the command's.
declare -F at >/dev/null || at() { shift; "$@"; }
declare -F program_of >/dev/null || program_of() { echo ff3fs-metad; }

start_member() {
	local i=$1
	shift
	FF3FS_METAD_DIR=$tmp/metad.$i FF3FS_METAD_GROUP=$group FF3FS_METAD_MEMBER=$i \
	FF3FS_METAD_LISTEN=${member_addr[$i]} FF3FS_METAD_ADMIN=${member_admin[$i]} \
	FF3FS_METAD_MEMORY=64M \
		start_daemon "metad.$i" "$(program_of "$i")" "$@" || die "member $i did not get ready"
	member_pid[$i]=$started_pid
}

kill_member() { kill_daemon "${member_pid[$1]}" "${2:-KILL}"; }

# The process lives and is not stopped.
runs() { [[ $(ps -o stat= "${member_pid[$1]}" 2>/dev/null) == [SRD]* ]]; }

members_json() { at "$1" curl -s -m 2 "http://${member_admin[$1]}/v1/metad/members"; }
# json_get KEY: of the document's own. Asked again and again: no python for that.
json_get() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\).*/\1/p"; }
seen() { members_json "$1" | json_get "$2"; }
state_of() {
	members_json "$1" | awk -F '"' -v id="$2" '
		$2 == "id" { this = substr($3, 3) + 0 }
		$2 == "state" && this == id { print $4 }'
}

is_serving() {
	[ "$(runs "$1" && at "$1" curl -s -m 1 "http://${member_admin[$1]}/v1/status" | json_get serving)" = true ]
}
primary() {
	local i
	for ((i = 1; i <= members; i++)); do
		[ "$i" != "${1:-}" ] && is_serving "$i" && { echo "$i"; return 0; }
	done
	return 1
}

# until WHAT COMMAND…: again and again, for a minute at most.
until_true() {
	local what=$1 limit end
	limit=$(slower "${UNTIL:-60}") end=$((SECONDS + limit))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || die "$what: not within $limit s: $*"
		sleep 0.05
	done
	say "ok: $what"
}
found_primary() { primary=$(primary "$@"); }
no_primary() { ! primary >/dev/null; }
wait_primary() { until_true "a primary${1:+ other than $1}" found_primary "$@"; }
is_state() { [ "$(state_of "$1" "$2")" = "$3" ]; }
all_vote() {
	local i
	found_primary || return 1
	for ((i = 1; i <= members; i++)); do is_state "$primary" "$i" voter || return 1; done
}
# Every member that runs has applied what the primary has committed. A witness applies nothing.
caught_up() {
	local want
	found_primary || return 1
	want=$(seen "$primary" commit_seq)
	[ -n "$want" ] && [ "$(seen "$1" commit_seq)" -ge "$want" ] 2>/dev/null
}
settled() {
	local i
	for ((i = 1; i <= members; i++)); do ! runs "$i" || caught_up "$i" || return 1; done
}

form_group() {
	local i
	group_conf "${1:-3}" "${2:-}"
	start_member 1 --form
	for ((i = 2; i <= members; i++)); do start_member "$i"; done
	until_true 'all vote' all_vote
}
start_group() {
	form_group "$@"
	start_node
}

# A chunk daemon, as far as metad can tell: without one no file can be made.
start_node() {
	at 0 exec "$drive" "$addresses" node >"$tmp/node.log" 2>&1 &
	pids+=($!)
	until_true 'there is a node' has_node
}
has_node() {
	found_primary && [ "$(at "$primary" curl -s -m 1 "http://${member_admin[$primary]}/v1/status" |
		json_get chains)" = 1 ]
}

# begin_load NAME N: N directories of operations in the background; $load_pid; the number done so far is
# the number of lines in $tmp/load.NAME times 20.
begin_load() {
	at 0 exec "$drive" "$addresses" load "$1" "$2" >"$tmp/load.$1" 2>"$tmp/load.$1.log" &
	load_pid=$!
	pids+=("$load_pid")
}
load_is_at() { [ "$(wc -l <"$tmp/load.$1")" -ge "$2" ]; }
end_load() { # end_load NAME N
	local pid rest=()
	wait "$load_pid" || { cat "$tmp/load.$1.log"; die "load $1"; }
	for pid in "${pids[@]}"; do [ "$pid" = "$load_pid" ] || rest+=("$pid"); done
	pids=("${rest[@]}")
	check "everything of $1 is there once" at 0 "$drive" "$addresses" verify "$1" "$2"
}

# post I PATH: the HTTP status; the answer is in $tmp/post.
post() { at "$1" curl -s -m 10 -o "$tmp/post" -w '%{http_code}' -X POST "http://${member_admin[$1]}$2"; }

# Whoever is the primary, as soon as it sees the member.
admit() { found_primary && [ "$(post "$primary" "/v1/metad/members/$1/admit")" = 200 ]; }

# same_everywhere: every member that runs and has a database has the same rows.
digest_of() { # digest_of DIR SEQ: when everything up to there is in the database, which a transaction may hold up
	timeout 30 /usr/bin/python3 - "$1" "$2" <<'PY'
import sqlite3, hashlib, sys, time
db = sqlite3.connect('file:%s/metad.db?mode=ro' % sys.argv[1], uri=True)
while db.execute('SELECT applied_seq FROM meta').fetchone()[0] < int(sys.argv[2]):
    time.sleep(0.005)
db.execute('BEGIN')
seq, = db.execute('SELECT applied_seq FROM meta').fetchone()
h = hashlib.sha256()
for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall():
    # Answers that a session has acknowledged are there or not, as transactions ended.
    which = '' if name != 'results' else (' AS r WHERE seq = 0 OR seq >= '
                                          '(SELECT max(acked) FROM results WHERE session = r.session)')
    rows = sorted(repr(row) for row in db.execute('SELECT * FROM "%s"%s' % (name, which)))
    h.update((name + '\n'.join(rows)).encode())
print(seq, h.hexdigest())
PY
}
same_now() { # of one moment: what is logged meanwhile is no difference
	local i first='' now seq
	settled || return
	seq=$(seen "$primary" commit_seq) && [ -n "$seq" ] || return
	for ((i = 1; i <= members; i++)); do
		[ -f "$tmp/metad.$i/metad.db" ] && runs "$i" || continue
		now=$(digest_of "$tmp/metad.$i" "$seq") || die "cannot read the database of member $i"
		first=${first:-$now}
		[ "$now" = "$first" ] && continue
		[ "${now% *}" != "${first% *}" ] || die "member $i has another database"
		return 1
	done
}
same_everywhere() { UNTIL=30 until_true 'the same database everywhere' same_now; }

requires curl ff3fs-metad
requires_python sqlite3
drive=$(find_built metad_drive) || skip 'metad_drive is not built'
