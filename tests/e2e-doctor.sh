#!/bin/bash
# ff3fs doctor: what it says of a healthy cluster and of each thing that can be wrong with one, its exit status,
# and that text and JSON say the same.
# transport: none (it tells which one is taken)
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get ff3fs-admin
requires_python json

start_cluster 2
export FF3FS_CLIENT_TRANSPORTS='verbs tcp unix'
head -c 3000000 /dev/urandom >"$tmp/data"
check 'put' ff3fs-put -q "$tmp/data" "$prefix/data"

# doctor STATUS [ARGUMENT…]: its JSON in $tmp/json, its text in $tmp/text; both tell of the same.
doctor() {
	local want=$1 r
	shift
	ff3fs doctor --json "$@" >"$tmp/json" 2>"$tmp/err" </dev/null
	r=$?
	[ $r -eq "$want" ] || { cat "$tmp/json" "$tmp/err"; die "exit $r, not $want, of: doctor $*"; }
	ff3fs doctor "$@" >"$tmp/text" 2>>"$tmp/err" </dev/null
	equal "doctor $*: exit" "$want" $?
	[ ! -s "$tmp/err" ] || { cat "$tmp/err"; die 'it has something to say on stderr'; }
	/usr/bin/python3 - "$tmp/json" "$tmp/text" <<-'PYTHON' || { cat "$tmp/json" "$tmp/text"; die 'text and JSON differ'; }
		import json, re, sys
		want = ["  %-8s%-22s " % (f["level"], f["what"]) for f in json.load(open(sys.argv[1]))["findings"]]
		lines = [l.rstrip("\n") + " " for l in open(sys.argv[2]) if re.match("  (ok|note|problem) ", l)]
		assert len(want) == len(lines), (len(want), len(lines))
		for w, l in zip(want, lines):
		    assert l.startswith(w), (w, l)
	PYTHON
	! grep -q $'\033' "$tmp/text" || die 'colours without a terminal'
}
# finding LEVEL WHAT PATTERN [FIX]: there is such a one, and with a fix unless all is well.
finding() {
	/usr/bin/python3 - "$tmp/json" "$@" <<-'PYTHON' || { cat "$tmp/json"; die "no $1 about $2: $3"; }
		import json, re, sys
		level, what, pattern = sys.argv[2:5]
		fix = sys.argv[5] if len(sys.argv) > 5 else None
		d = json.load(open(sys.argv[1]))
		assert d["ok"] + d["notes"] + d["problems"] == len(d["findings"])
		for f in d["findings"]:
		    if f["level"] == level and re.search(what, f["what"]) and re.search(pattern, f["text"]):
		        assert fix is None or re.search(fix, f["fix"] or ""), f
		        assert level != "problem" or f["fix"], f
		        assert "\n" not in f["text"] + (f["fix"] or ""), f
		        sys.exit(0)
		sys.exit(1)
	PYTHON
	say "ok: $1: $2: $3"
}

# --- Healthy ------------------------------------------------------------------------------------
doctor 0 "$prefix/data"
finding ok client.metad "$metad_addr \(environment: FF3FS_CLIENT_METAD\)"
finding ok client.timeout '30s \(default\)'
finding ok library 'can be preloaded'
finding ok "metad $metad_addr" 'answers in [0-9.]+ [um]s by tcp'
finding ok "chunkd ${chunkd_addr[2]}" 'answers in .* by tcp'
finding ok tcp 'taken: .* requests so far'
finding ok unix 'would work .*comes after tcp'
finding ok shm 'would work .*not in client.transports'
[ -e /sys/class/infiniband ] || finding ok verbs 'no RDMA device'
finding ok "$prefix/data" '2.9 MiB'
finding ok reading '4 KiB'
finding ok 'hot memory' 'without a request'
finding ok 'preloaded programs' "see $prefix/data"
grep -q '^no problem' "$tmp/text" || die 'no last line'
printf '[client]\nread_ahead = 1M\n' >"$tmp/some.conf"
doctor 0 --conf="$tmp/some.conf"
finding ok client.read_ahead "1M \($tmp/some.conf:2\)"
script -qec 'stty cols 70; TERM=xterm ff3fs doctor' /dev/null </dev/null >"$tmp/terminal" 2>&1
grep -q $'\033\[32mok' "$tmp/terminal" || die 'no colours on a terminal'
equal 'no line is longer than the terminal' '' \
	"$(sed -e 's/\x1b\[[0-9;]*m//g' -e 's/\r//' "$tmp/terminal" | awk 'length($0) > 70' | grep -v / | head -n 1)"

# --- Links --------------------------------------------------------------------------------------
FF3FS_CLIENT_TRANSPORTS=unix doctor 0
finding ok unix 'taken'
finding ok tcp 'would work .*not in client.transports'
FF3FS_CLIENT_TRANSPORTS='shm tcp' doctor 0 "$prefix/data"
finding ok "chunkd ${chunkd_addr[1]}" 'by shm'

kill_daemon "${chunkd_pid[2]}"
FF3FS_CHUNKD_TRANSPORTS=tcp start_chunkd 2
FF3FS_CLIENT_TRANSPORTS='shm tcp' doctor 0
finding note shm 'not taken, though preferred: no daemon of this host has its address' 'client.transports'
FF3FS_CLIENT_TRANSPORTS=shm doctor 1
finding problem "chunkd ${chunkd_addr[2]}" 'refused|does not serve'

# --- Daemons ------------------------------------------------------------------------------------
kill_daemon "${chunkd_pid[2]}"
doctor 1
finding problem "chunkd ${chunkd_addr[2]}" 'refused|reset' 'start ff3fs-chunkd there|log'
finding ok "chunkd ${chunkd_addr[1]}" 'answers'
finding note 'chunk daemons' '1 of 2 serve us'
grep -q '^1 problem, ' "$tmp/text" || die 'no count of problems'

# Somebody else's chunkd has taken its address.
other=$tmp/other
mkdir "$other"
FF3FS_METAD_DIR=$other/metad FF3FS_METAD_LISTEN=127.0.0.1:$(free_port) FF3FS_METAD_ADMIN=127.0.0.1:$(free_port) \
	start_daemon other-metad ff3fs-metad || die 'another metad'
other_metad=$started_listen
mkdir "$other/chunkd"
FF3FS_CHUNKD_TARGETS=$other/chunkd FF3FS_CHUNKD_LISTEN=${chunkd_addr[2]} FF3FS_CHUNKD_ADMIN=127.0.0.1:$(free_port) \
	FF3FS_CHUNKD_METAD=$other_metad FF3FS_CHUNKD_MEMORY=64M start_daemon other-chunkd ff3fs-chunkd || die 'another chunkd'
other_chunkd=$started_pid
doctor 1
finding problem "chunkd ${chunkd_addr[2]}" 'another cluster' 'metad'
kill_daemon "$other_chunkd"
start_chunkd 2
doctor 0

FF3FS_CLIENT_METAD=${chunkd_addr[1]} doctor 1
finding problem "metad ${chunkd_addr[1]}" 'target' 'client.metad|log'
FF3FS_CLIENT_METAD=127.0.0.1:1 doctor 1
finding problem 'metad 127.0.0.1:1' 'refused' 'client.metad'
kill_daemon "$metad_pid"
doctor 1
finding problem "metad $metad_addr" 'refused|reset' 'start ff3fs-metad|log'
start_metad

mkfifo "$tmp/forged"
/usr/bin/python3 "$srcdir/tests/forged_daemon.py" version >"$tmp/forged" &
pids+=($!)
read -r forged <"$tmp/forged"
FF3FS_CLIENT_METAD=$forged doctor 1
finding problem "metad $forged" "speaks protocol version $((protocol + 1)), this is $protocol"

# --- A group of metadata servers ----------------------------------------------------------------
. "$srcdir/tests/group.sh"
start_group
wait_primary
follower=$((primary % 3 + 1)) other=$(((primary + 1) % 3 + 1))
FF3FS_CLIENT_METAD=${member_addr[$follower]},${member_addr[$primary]},${member_addr[$other]} doctor 1
finding ok "member ${member_addr[$primary]}" 'is the primary'
finding ok "member ${member_addr[$follower]}" 'follows'
finding ok "metad ${member_addr[$primary]}" 'answers'
kill_member "$other"
FF3FS_CLIENT_METAD=${member_addr[$other]},${member_addr[$follower]},${member_addr[$primary]} doctor 1
# A daemon's listening socket outlives it for a moment: it is closed with its io_uring.
finding note "member ${member_addr[$other]}" 'is away: Connection (refused|reset)' 'start ff3fs-metad|log'
finding ok "metad ${member_addr[$primary]}" 'answers'

# --- This host ----------------------------------------------------------------------------------
(ulimit -n 200 && doctor 1) || die 'open files'
finding problem 'open files' '200' 'ulimit -n'
(ulimit -S -n 512 && doctor 0) || die 'open files'
finding note 'open files' '512' 'ulimit -n'
(ulimit -v 4000000 && doctor 0) || die 'address space'
finding note 'address space' '3.8 GiB' 'ulimit -v'
(ulimit -f 2000 && doctor 0) || die 'file size'
finding note 'file size' '' 'ulimit -f'
FF3FS_DISABLE=1 doctor 1
finding problem FF3FS_DISABLE 'does nothing' 'unset'
FF3FS_MMAP_DIR=$tmp/nowhere doctor 0
finding note "$tmp/nowhere" 'No such file' 'FF3FS_MMAP_DIR'

# --- Configuration and paths --------------------------------------------------------------------
printf '[client]\nmetda = x\n' >"$tmp/bad.conf"
doctor 1 --conf="$tmp/bad.conf"
finding problem ff3fs.conf "bad.conf:2: unknown key 'metda'" 'ff3fs.conf\(5\)'
doctor 1 "$prefix/none"
finding problem "$prefix/none" 'No such file' 'ff3fs ls'
mkdir "$tmp/alone"
cp "$(readlink -f "$tmp/bin/ff3fs")" "$tmp/alone/ff3fs"
PATH=$tmp/alone:$PATH
if [ ! -e /usr/local/lib/libff3fs_preload.so ] && [ ! -e /usr/lib/libff3fs_preload.so ]; then
	doctor 1
	finding problem libff3fs_preload.so 'not found beside this program' 'install'
fi
