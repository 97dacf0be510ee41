# Sourced by every shell test:  . "${srcdir:-.}/tests/functions.sh"
#
# It gives a temporary directory ($tmp) that goes away with the test, the built programs on PATH,
# daemons on free loopback ports, and a few words to write tests with. Nothing here sleeps: a
# daemon is ready when it has said so on its --ready-fd, and it is gone when wait has returned.
#
# Every daemon is started with --exit-with-parent and its pid is recorded; the cleanup ends those
# pids and nothing else. When a test fails, the daemons' logs are printed.
#
# A test also runs by hand from the build directory:  bash ../tests/e2e-x.sh
# KEEP=1 keeps $tmp.  VERBOSE=1 makes daemons log more.

# A make that a test runs is none of the make's that runs the test.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL
set -u
srcdir=$(cd "${srcdir:-$(dirname "${BASH_SOURCE[0]}")/..}" && pwd) || exit 99
builddir=$(cd "${builddir:-.}" && pwd) || exit 99
test_name=$(basename "$0" .sh)

# An IPv4 address of this machine's RDMA devices, as their ports have them for GIDs.
rdma_address() {
	cat /sys/class/infiniband/*/ports/*/gids/* 2>/dev/null |
		sed -n 's/^0000:0000:0000:0000:0000:ffff:\(..\)\(..\):\(..\)\(..\)$/0x\1 0x\2 0x\3 0x\4/p' |
		{ read -r a b c d && printf '%d.%d.%d.%d\n' "$a" "$b" "$c" "$d"; }
}
# What a test says of transports: see use_transport.
transport_bound=$(sed -n 's/^# transport: *\([a-z ]*\).*/\1/p' "$0" | head -n 1)
[[ $test_name != lint* ]] || transport_bound=none
# Where daemons listen. TRANSPORT=verbs: at a device's address; a machine that has none boots one that has, and
# the test runs there instead of here.
test_host=127.0.0.1
if [ "${TRANSPORT:-}" = verbs ] && [[ -z $transport_bound || $transport_bound == *verbs* ]] &&
	! test_host=$(rdma_address); then
	[ -f "$builddir/.libs/libff3fs_verbs.so" ] || { echo "$test_name: skipped: configured without verbs"; exit 77; }
	VM_SECONDS=${VM_SECONDS:-1500} VM_MEMORY=${VM_MEMORY:-4096} VM_DISK=${VM_DISK:-2048} \
		exec bash "$srcdir/tests/vm/machine.sh" bash "$0" "$@"
fi

# $tmp is a real disk where there is one: chunk daemons use direct I/O.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/ff3fs-$test_name.XXXXXX") || exit 99
[ -f "$builddir/Makefile" ] || { echo "$test_name: run me in the build directory"; exit 99; }

# --- The built programs -------------------------------------------------------------------------

# The path of a built program or library: a libtool program is a script, its ELF file is in .libs. Over verbs test
# programs are copied, with what a program looks for beside itself.
find_built() {
	local d
	for d in "$builddir" "$builddir"/tools "$builddir"/metad "$builddir"/chunkd \
		"$builddir"/preload "$builddir"/common/client "$builddir"/tests; do
		if [ -f "$d/.libs/$1" ]; then echo "$d/.libs/$1"; return 0; fi
		[ -f "$d/$1" ] || continue
		if [[ ${TRANSPORT:-}$d = "verbs$builddir/tests" ]]; then
			cp "$d/$1" "$builddir/.libs/libff3fs_verbs.so" "$tmp/bin" && echo "$tmp/bin/$1"
		else
			echo "$d/$1"
		fi
		return
	done
	return 1
}

mkdir "$tmp/bin"
: >"$tmp/.counted"
for program in ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put ff3fs-get ff3fs-admin ff3fs-mount; do
	if built=$(find_built "$program"); then ln -s "$built" "$tmp/bin/$program"; fi
done
PATH=$tmp/bin:$PATH
shim=$(find_built libff3fs_preload.so)
if library=$(find_built libff3fs.so); then
	export LD_LIBRARY_PATH=${library%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
protocol=$(awk '$2 == "FF3_PROTOCOL_VERSION" { print $3 }' "$srcdir/common/wire/wire.h")
: >"$tmp/empty.conf"
export FF3FS_CONF=$tmp/empty.conf # nobody's own configuration
unset FF3FS_PREFIX FF3FS_LIB FF3FS_DISABLE

# --- The end of a test --------------------------------------------------------------------------

pids=()        # of daemons that were started and not waited for
cleanup_fns=() # run in reverse order, before the daemons are ended

cleanup_fn() { cleanup_fns=("$*" "${cleanup_fns[@]}"); }

finish() {
	local status=$? fn pid log
	trap - EXIT
	if [ $status -eq 0 ] && [ -n "${TRANSPORT:-}" ] && ! check_transport; then
		say "FAILED: nothing came by $TRANSPORT"
		status=1
	fi
	for fn in "${cleanup_fns[@]}"; do eval "$fn"; done
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
	if [ -n "${SANITIZE_FLAGS:-}" ] && grep -q -s -e Sanitizer: -e 'runtime error:' "$tmp"/*.log; then
		say "FAILED: a sanitizer has something to say about a daemon"
		status=1
	fi
	if [ $status -ne 0 ] && [ $status -ne 77 ]; then
		for log in "$tmp"/*.log; do
			[ -s "$log" ] || continue
			echo "--- ${log##*/} (last 40 lines)"
			tail -n 40 "$log"
		done
	fi
	give_ports
	if [ -n "${KEEP:-}" ]; then echo "kept: $tmp"; else rm -rf "$tmp"; fi
	exit $status
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# --- Transports ---------------------------------------------------------------------------------

# TRANSPORT=tcp, unix, shm or verbs: clients of this test come by that and by nothing else. A test that is
# bound to some of them says so and why, "# transport: unix shm (descriptors pass)", and is skipped under others;
# one without daemons says "# transport: none".
use_transport() {
	local word
	case $TRANSPORT in
	tcp | unix | shm | verbs) ;;
	*) echo "$test_name: TRANSPORT=$TRANSPORT is none of tcp, unix, shm, verbs"; exit 99 ;;
	esac
	for word in $transport_bound; do
		[ "$word" = "$TRANSPORT" ] && transport_bound=''
	done
	if [ -n "$transport_bound" ]; then
		echo "$test_name: skipped: $TRANSPORT: it is bound to $transport_bound"
		exit 77
	fi
	if [ "${FF3FS_TEST_SLOWER:-1}" -gt 1 ] && grep "^$test_name: " "$srcdir/tests/vm/cannot"; then
		echo "$test_name: skipped: not in the virtual machine"
		exit 77
	fi
	export FF3FS_CLIENT_TRANSPORTS=$TRANSPORT
}
[ -z "${TRANSPORT:-}" ] || use_transport

# metrics HOST:PORT: of a daemon's admin endpoint.
metrics() {
	local answer
	exec {answer}<>"/dev/tcp/${1%:*}/${1##*:}" || return 1
	printf 'GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" >&"$answer"
	cat <&"$answer"
	exec {answer}>&-
}
# count_at HOST:PORT [COMMAND…]: what clients asked of the daemon whose admin endpoint it is, is added to $tmp/.counted;
# the command runs another where it can be reached.
count_at() {
	timeout 5 "${@:2}" bash -c "$(declare -f metrics); metrics $1" 2>/dev/null |
		grep '_requests_total{.*role="client"' >>"$tmp/.counted"
}
declare -A admin_of # daemons of this test that were started and not waited for: their endpoints, by pid
# count_requests PID: of a daemon of this test, if it lives.
count_requests() {
	local where=()
	[ -n "${admin_of[$1]:-}" ] || return
	[ "/proc/$1/ns/net" -ef /proc/self/ns/net ] || where=(nsenter -t "$1" -n)
	[[ $(ps -o stat= "$1") != [SRD]* ]] || count_at "${admin_of[$1]}" "${where[@]}"
	unset "admin_of[$1]"
}
# Clusters of ff3fs dev; those that the test takes down are counted before (check).
count_dev() {
	local address
	for address in $(sed -n 's/^admin = //p' "$tmp"/*/ff3fs.conf "$tmp"/*/{metad,chunkd}*.conf 2>/dev/null | sort -u); do
		count_at "$address"
	done
}
# carried LINK: how many requests came by it to daemons that have been counted.
carried() { awk -v link="link=\"$1\"" 'index($0, link) { n += $NF } END { print n + 0 }' "$tmp/.counted"; }
# At the end: a test that ran over another transport than it was told has shown nothing. All daemons are counted,
# those that the test has ended (kill_daemon) when it did.
check_transport() {
	local link all=''
	for link in "${!admin_of[@]}"; do count_requests "$link"; done
	count_dev
	for link in tcp unix shm verbs; do all+="$link $(carried $link), "; done
	echo "$test_name: requests carried: ${all%, }"
	[ "$(carried "$TRANSPORT")" -gt 0 ]
}

# In an emulated machine all takes longer: FF3FS_TEST_SLOWER times (tests/vm/guest.sh).
slower() { echo $(($1 * ${FF3FS_TEST_SLOWER:-1})); } # slower SECONDS
# fewer TIMES [LEAST (1)]: what is done again and again, less often there.
fewer() {
	local n=$(($1 / ${FF3FS_TEST_SLOWER:-1}))
	echo $((n < ${2:-1} ? ${2:-1} : n))
}
if [ "${FF3FS_TEST_SLOWER:-1}" -gt 1 ]; then
	timeout() { # timeout [-k SECONDS] SECONDS COMMAND…
		local options=()
		while [[ $1 == -* ]]; do options+=("$1" "$2") && shift 2; done
		command timeout "${options[@]}" $(($1 * FF3FS_TEST_SLOWER)) "${@:2}"
	}
fi

# --- Words --------------------------------------------------------------------------------------

say() { echo "$test_name: $*"; }
die() { echo "$test_name: FAILED: $*"; exit 1; }
skip() { echo "$test_name: skipped: $*"; exit 77; }

# requires PROGRAM…: skips the test where one is missing.
requires() {
	local p
	for p; do
		command -v "$p" >/dev/null && continue
		case $p in ff3fs*) die "$p is not built" ;; esac
		skip "no $p on this machine"
	done
}
requires_root() { [ "$(id -u)" -eq 0 ] || skip "needs root"; }
requires_python() { # requires_python MODULE…: of Debian's python3
	local m
	[ -x /usr/bin/python3 ] || skip "no /usr/bin/python3"
	for m; do
		/usr/bin/python3 -c "import $m" 2>/dev/null || skip "no python3 module $m"
	done
}

# check WHAT COMMAND…: the command must succeed. Its output is shown if it does not.
check() {
	local what=$1 r
	shift
	[[ -z ${TRANSPORT:-} || $* != 'ff3fs dev down'* ]] || count_dev
	"$@" >"$tmp/check.out" 2>&1
	r=$?
	if [ $r -ne 0 ]; then
		tail -n 30 "$tmp/check.out"
		die "$what: exit $r of: $*"
	fi
	say "ok: $what"
}
# fails WHAT STATUS COMMAND…: the command must exit with exactly this status; output in $tmp/out
# and $tmp/err.
fails() {
	local what=$1 want=$2 r
	shift 2
	"$@" >"$tmp/out" 2>"$tmp/err"
	r=$?
	if [ $r -ne "$want" ]; then
		cat "$tmp/out" "$tmp/err"
		die "$what: exit $r, not $want, of: $*"
	fi
	say "ok: $what"
}
equal() { # equal WHAT WANT GOT
	[ "$2" = "$3" ] || die "$1: want [$2], got [$3]"
	say "ok: $1"
}

# --- Daemons ------------------------------------------------------------------------------------

# start_daemon NAME PROGRAM [ARGUMENT…]: starts it with a --ready-fd and waits for its READY line.
# Sets $started_pid, $started_listen and $started_admin. Its log is $tmp/NAME.log. Returns 1 when
# it ends without having got ready.
start_daemon() {
	local name=$1 program=$2 fifo=$tmp/$1.ready line='' word
	shift 2
	command -v "$program" >/dev/null || die "$program is not built"
	rm -f "$fifo"
	mkfifo "$fifo" || die "mkfifo"
	"$program" --ready-fd 9 --exit-with-parent ${VERBOSE:+-v} "$@" \
		9>"$fifo" >>"$tmp/$name.log" 2>&1 </dev/null &
	started_pid=$!
	read -r -t "${START_LIMIT:-$(slower 60)}" line <"$fifo"
	rm -f "$fifo"
	started_listen='' started_admin=''
	for word in $line; do
		case $word in
		listen=*) started_listen=${word#listen=} ;;
		admin=*) started_admin=${word#admin=} ;;
		esac
	done
	case $line in
	READY*)
		pids+=("$started_pid")
		[ -z "$started_admin" ] || admin_of[$started_pid]=$started_admin
		;;
	*)
		kill -KILL "$started_pid" 2>/dev/null
		wait "$started_pid" 2>/dev/null
		return 1
		;;
	esac
}

# free_port: one that nobody listens at, that no other test has taken, and that no outgoing connection takes for itself
# while its daemon is being restarted.
ports=${TMPDIR:-/tmp}/ff3fs-ports.$(id -u)
free_port() {
	local port
	while port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000)); do
		take_port "$port" || continue
		(exec 3<>"/dev/tcp/$test_host/$port") 2>/dev/null || (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}
# Until the test ends; what it left when it was killed, the next one takes back.
take_port() {
	local by
	mkdir -p -m 700 "$ports" && ln -s $$ "$ports/$1" 2>/dev/null && return
	by=$(readlink "$ports/$1") && ! kill -0 "$by" 2>/dev/null && rm -f "$ports/$1"
	return 1
}
give_ports() { find "$ports" -lname $$ -delete -o -path "$ports" -empty -delete; } 2>/dev/null

# start_metad [ARGUMENT…]: the metadata server, data in $tmp/metad. Sets metad_pid, metad_addr,
# metad_admin. Started again it takes the address it had before. Further settings come from the
# environment: FF3FS_METAD_LEASE=2s start_metad
start_metad() {
	mkdir -p "$tmp/metad"
	FF3FS_METAD_DIR=${FF3FS_METAD_DIR:-$tmp/metad} \
	FF3FS_METAD_LISTEN=${metad_addr:-$test_host:$(free_port)} \
	FF3FS_METAD_ADMIN=${metad_admin:-127.0.0.1:$(free_port)} \
	FF3FS_METAD_MEMORY=${FF3FS_METAD_MEMORY:-64M} \
		start_daemon metad ff3fs-metad "$@" || die "metad did not get ready"
	metad_pid=$started_pid metad_addr=$started_listen metad_admin=$started_admin
}

declare -A chunkd_pid chunkd_addr chunkd_admin

# start_chunkd [N [ARGUMENT…]]: chunk daemon N (1 if not given), one target in $tmp/chunkd.N unless
# FF3FS_CHUNKD_TARGETS says otherwise. Sets chunkd_pid[N], chunkd_addr[N], chunkd_admin[N].
start_chunkd() {
	local n=${1:-1}
	[ $# -gt 0 ] && shift
	mkdir -p "$tmp/chunkd.$n"
	FF3FS_CHUNKD_TARGETS=${FF3FS_CHUNKD_TARGETS:-$tmp/chunkd.$n} \
	FF3FS_CHUNKD_LISTEN=${chunkd_addr[$n]:-$test_host:$(free_port)} \
	FF3FS_CHUNKD_ADMIN=${chunkd_admin[$n]:-127.0.0.1:$(free_port)} \
	FF3FS_CHUNKD_METAD=$metad_addr \
	FF3FS_CHUNKD_MEMORY=${FF3FS_CHUNKD_MEMORY:-64M} \
	FF3FS_CHUNKD_CAPACITY=${FF3FS_CHUNKD_CAPACITY:-4G} \
		start_daemon "chunkd.$n" ff3fs-chunkd "$@" || die "chunkd $n did not get ready"
	chunkd_pid[$n]=$started_pid chunkd_addr[$n]=$started_listen chunkd_admin[$n]=$started_admin
}

# kill_daemon PID [SIGNAL]: ends a daemon that start_* started (KILL if no signal is named) and
# waits until it is gone. Sets $killed_status.
kill_daemon() {
	local pid=$1 p rest=() known=
	for p in "${pids[@]}"; do
		if [ "$p" = "$pid" ]; then known=1; else rest+=("$p"); fi
	done
	[ -n "$known" ] || die "kill_daemon: $pid is not a daemon of this test"
	[ -z "${TRANSPORT:-}" ] || count_requests "$pid"
	kill -"${2:-KILL}" "$pid"
	wait "$pid" 2>/dev/null
	killed_status=$?
	pids=("${rest[@]}")
}

# start_cluster [CHUNKDS]: metad and chunk daemons 1..CHUNKDS (3), and the client's environment.
start_cluster() {
	local i
	start_metad
	for ((i = 1; i <= ${1:-3}; i++)); do start_chunkd "$i"; done
	cluster_env
}

# cluster_env: what a client needs. The prefix does not exist on the machine.
prefix=/ff3fs-test
cluster_env() {
	export FF3FS_CLIENT_METAD=$metad_addr FF3FS_CLIENT_PREFIX=$prefix
}

# on COMMAND…: runs it with the shim preloaded.
on() {
	LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim "$@"
}
# start_on COMMAND…: the same in the background; sets $started_on to the program's own pid, which `on …
# &` would not give.
start_on() {
	LD_PRELOAD=${sanitizer_runtime:+$sanitizer_runtime:}$shim "$@" &
	started_on=$!
}
# The sanitizers' runtime must be the first library of a process.
sanitizer_runtime=
case ${SANITIZE_FLAGS:-} in
*address*)
	sanitizer_runtime=$(gcc -print-file-name=libasan.so)
	# Leaks are those of python and bash; setrlimit (of core files) would come before the shim can stand it.
	export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0:disable_coredump=0}
	;;
*thread*)
	sanitizer_runtime=$(gcc -print-file-name=libtsan.so)
	# Forking is what is tested; a process may end while a thread that has ended waits to be joined.
	export TSAN_OPTIONS=${TSAN_OPTIONS:-die_after_fork=0:disable_coredump=0:report_thread_leaks=0}
	;;
esac

# own_map_dir: what mappings of this test have on the node is in memory of its own. Sets $FF3FS_MMAP_DIR, and
# $lazily: can pages be loaded when they are touched?
own_map_dir() {
	export FF3FS_MMAP_DIR=$tmp/shm
	mkdir "$tmp/shm"
	if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=1G,mode=700 none "$tmp/shm" 2>/dev/null; then
		cleanup_fn 'umount -l "$tmp/shm"'
	else
		FF3FS_MMAP_DIR=$(mktemp -d /dev/shm/ff3fs-map.XXXXXX) || die 'no /dev/shm'
		cleanup_fn 'rm -rf "$FF3FS_MMAP_DIR"'
	fi
	lazily=no
	[ "$(id -u)" -eq 0 ] && lazily=yes
}
# nothing_mapped WHO: all that was mapped is removed from the node.
nothing_mapped() {
	equal "nothing is left behind by $1" '' "$(find "$FF3FS_MMAP_DIR" -type f ! -name registry)"
}

# unmount DIR: of a file system that a process which just ended has used: the kernel may still be
# letting go of its io_uring, and tells nobody when it has.
unmount() {
	local i
	for ((i = 0; i < 50; i++)); do
		umount "$1" 2>/dev/null && return
		read -r -t 0.1 <>"$tmp/.never"
	done
	umount -l "$1"
}
mkfifo "$tmp/.never"

# rss_mib PID: resident memory.
rss_mib() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$1/status"; }
peak_mib() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$1/status"; }

# refuses WHAT PATTERN COMMAND…: the command must fail by its own decision (not by a signal or a
# time limit), print nothing on stdout, and say why in one line that matches PATTERN; a second line
# may give a hint, and an attempt that is repeated may say so.
refuses() {
	local what=$1 pattern=$2 r
	shift 2
	timeout -k 5 60 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	r=$?
	if [ $r -eq 0 ] || [ $r -ge 124 ]; then
		cat "$tmp/err"
		die "$what: exit $r of: $*"
	fi
	[ ! -s "$tmp/out" ] || { cat "$tmp/out"; die "$what: failed, and yet wrote to stdout"; }
	[ "$(grep -c -v -e ': hint: ' -e '; copying it again$' "$tmp/err")" -eq 1 ] || { cat "$tmp/err"; die "$what: not one line of error"; }
	head -n 1 "$tmp/err" | grep -q -i -E -- "$pattern" || { cat "$tmp/err"; die "$what: does not say $pattern"; }
	refused_status=$r
	say "ok: $what: exit $r, $(head -n 1 "$tmp/err" | cut -c1-160)"
}
