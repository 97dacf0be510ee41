#!/bin/bash
# ff3fs run --notify: static programs, which make their system calls themselves, read ff3fs as they read
# a local directory; what would write is refused; status and signals of the command are its own.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs ff3fs-put
start_cluster 2

run() { ff3fs run --notify -- "$@"; }
if ! run /bin/true 2>"$tmp/err"; then
	grep -q 'seccomp' "$tmp/err" || { cat "$tmp/err"; die 'does not run, and does not say why'; }
	skip "no seccomp user notification here: $(cat "$tmp/err")"
fi

mkdir -p "$tmp/local/sub/deep" "$tmp/local/many"
seq 1 20000 >"$tmp/local/numbers"
head -c 3000001 /dev/urandom >"$tmp/local/random"
ln -s numbers "$tmp/local/link"
ln -s sub/deep "$tmp/local/dirlink"
(cd "$tmp/local/many" && seq -f 'name-%05g' 1500 | xargs touch)
chmod 755 "$tmp" "$tmp/local"
check 'the tree' ff3fs-put -r "$tmp/local" "$prefix/d"
as=

# twin WHAT SCRIPT: as in e2e-mount.sh; $D is the tree.
twin() {
	(cd / && D=$tmp/local $as bash -c "$2") >"$tmp/want" 2>&1
	echo "status $?" >>"$tmp/want"
	(cd / && D=$prefix/d timeout 60 $as ff3fs run --notify -- bash -c "$2") >"$tmp/got" 2>&1
	echo "status $?" >>"$tmp/got"
	sed -i "s,$tmp/local,DIR,g" "$tmp/want"
	sed -i "s,$prefix/d,DIR,g" "$tmp/got"
	diff "$tmp/want" "$tmp/got" || die "$1"
	say "ok: $1 ($(wc -l <"$tmp/want") lines)"
}

static_programs() { # static_programs WHO
	if busybox=$(command -v busybox) && file -L "$busybox" | grep -q 'statically'; then
		export busybox
		twin "$1: busybox cat, sha1sum, head, wc" '$busybox cat $D/numbers | $busybox wc; $busybox sha1sum $D/random $D/link; $busybox head -n 3 $D/numbers; $busybox tail -c 10 $D/random | $busybox od -c; $busybox cmp $D/numbers $D/link; $busybox cat $D/missing; $busybox cat $D'
		twin "$1: busybox ls, find, stat" '$busybox ls $D; $busybox ls $D/many | $busybox md5sum; $busybox find $D -type d | $busybox sort; $busybox find $D -name "name-*5" | $busybox wc -l; $busybox stat -c "%F %a %h" $D/numbers $D/link; $busybox stat -c %F $D/sub; $busybox readlink $D/link; $busybox readlink -f $D/dirlink; $busybox test -d $D/dirlink; echo $?; $busybox ls $D/../*/nothing'
		twin "$1: busybox sh" '$busybox sh -c "cd \$D; pwd; ls | cat; cat numbers | tail -1; cd sub; pwd; ls ../many | tail -1; (cd ..; pwd; cat link | head -1); ls -d deep; cd /; pwd; cat \$D/numbers | head -1; for f in \$D/many/*00; do echo \$f; done; read x <\$D/numbers; echo \$x; exit 4"'
		twin "$1: a shell with the shim, and busybox below it" 'cd $D; $busybox pwd; $busybox ls; $busybox cat link | $busybox sha1sum; cd sub; $busybox cat ../numbers | wc -l; $busybox sh -c "cat ../numbers | tail -1; cd ..; bash -c \"pwd; head -1 numbers; cd sub; ls\""'
		twin "$1: archives out of it" '$busybox tar c -C $D numbers sub | $busybox tar t; $busybox tar c -C $D many | $busybox tar t | $busybox wc -l; $busybox gzip -c $D/numbers | $busybox zcat | $busybox md5sum'
	else
		say 'skipped: static busybox is not installed'
	fi
	if [ -x "$tmp/static_calls" ]; then
		export static_calls=$tmp/static_calls
		twin "$1: every call of a static program" '$static_calls $D'
	fi
	if [ -x "$tmp/walk" ]; then
		export walk=$tmp/walk
		twin "$1: a Go program" '$walk $D'
	fi
}

if echo 'int main(void) { return 0; }' >"$tmp/try.c" && gcc -static -o "$tmp/try" "$tmp/try.c" 2>/dev/null; then
	check 'a static program' gcc -D_GNU_SOURCE -O1 -static -pthread -o "$tmp/static_calls" "$srcdir/tests/static_calls.c"
else
	say 'skipped: no static C library'
fi
if command -v go >/dev/null; then
	check 'a Go program' env HOME="$tmp" GO111MODULE=off CGO_ENABLED=0 go build -o "$tmp/walk" "$srcdir/tests/walk.go"
else
	say 'skipped: go is not installed'
fi
static_programs 'here'
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	as='setpriv --reuid 4321 --regid 4321 --clear-groups --inh-caps=-all'
	chmod -R a+rX "$tmp/bin" "$tmp/empty.conf" "$tmp"/static_calls "$tmp"/walk 2>/dev/null
	if $as "$tmp/bin/ff3fs" --version >/dev/null 2>&1; then
		static_programs 'as a user'
	else
		say 'skipped: the build directory is not for other users'
	fi
	as=
fi

# --- What is not served ------------------------------------------------------------------------------
cat >"$tmp/refused.c" <<'EOC'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#define CALL(x) printf("%s %d\n", #x, (errno = 0, (x) < 0 ? errno : 0))
int main(int argc, char **argv)
{
	char *const none[] = { "x", NULL };
	if (chdir(argv[1]) < 0)
		return 1;
	CALL(open("new", O_WRONLY | O_CREAT, 0600));
	CALL(open("numbers", O_RDWR));
	CALL(open("numbers", O_WRONLY | O_TRUNC));
	CALL(open("sub", O_WRONLY));
	CALL(open(".", O_TMPFILE | O_RDWR, 0600));
	CALL(mkdir("x", 0700));
	CALL(unlink("numbers"));
	CALL(rmdir("sub"));
	CALL(rename("numbers", "x"));
	CALL(rename("/etc/hostname", "x"));
	CALL(link("numbers", "x"));
	CALL(symlink("numbers", "x"));
	CALL(chmod("numbers", 0600));
	CALL(chown("numbers", 0, 0));
	CALL(truncate("numbers", 0));
	CALL(utimensat(AT_FDCWD, "numbers", NULL, 0));
	CALL(mknod("x", 0600, 0));
	CALL(access("numbers", W_OK));
	CALL(setxattr("numbers", "user.x", "", 0, 0));
	CALL(getxattr("numbers", "user.x", NULL, 0));
	CALL(execv("numbers", none));
	CALL(execv("missing", none));
	return 0;
}
EOC
if [ -x "$tmp/static_calls" ]; then
	check 'builds' gcc -static -o "$tmp/refused" "$tmp/refused.c"
	before=$(ff3fs ls -lR "$prefix/d" | md5sum)
	run "$tmp/refused" "$prefix/d" >"$tmp/out" || die 'refused'
	equal 'what would write is EROFS (30)' \
		'30 30 30 21 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 95 13 2' \
		"$(sed 's/.* //' "$tmp/out" | tr '\n' ' ' | sed 's/ $//')"
	equal 'and nothing has changed' "$before" "$(ff3fs ls -lR "$prefix/d" | md5sum)"
fi
fails 'a file beyond the limit' 1 env FF3FS_NOTIFY_MAX=1M ff3fs run --notify -- "${busybox:-cat}" cat "$prefix/d/random"
if [ -n "${busybox:-}" ]; then
	grep -q 'random: 2.9 MiB is more than FF3FS_NOTIFY_MAX (1.0 MiB); ff3fs-mount' "$tmp/err" &&
		grep -q 'File too large' "$tmp/err" || { cat "$tmp/err"; die 'the limit is not told'; }
fi

# --- The command's status and signals -----------------------------------------------------------------
fails 'its exit status' 7 run sh -c 'exit 7'
fails 'a command that does not exist' 127 run no-such-command
fails 'one that cannot be executed' 126 run /etc/passwd
fails 'its death' 137 bash -c 'ff3fs run --notify -- sh -c "kill -9 \$\$"; exit $?'
ff3fs run --notify -- sh -c 'trap "echo got it; exit 5" TERM; echo ready; while read x; do :; done; exit 9' <"$tmp/.never" >"$tmp/out" &
runner=$!
exec 7>"$tmp/.never"
until grep -q ready "$tmp/out"; do kill -0 $runner || die 'the runner'; done
kill -TERM $runner
wait $runner
equal 'SIGTERM is the command'"'"'s' '5 got it' "$? $(tail -n 1 "$tmp/out")"
mkfifo "$tmp/hold" "$tmp/pause"
rm "$tmp/out"
ff3fs run --notify -- sh -c 'echo $$; exec cat' <"$tmp/hold" >"$tmp/out" &
runner=$!
exec 8>"$tmp/hold"
until [ -s "$tmp/out" ]; do kill -0 $runner || die 'the runner'; done
command=$(cat "$tmp/out")
kill -KILL $runner
wait $runner 2>/dev/null
timeout 10 tail --pid="$command" -f /dev/null || die 'the command outlives kill -9 of ff3fs run'
say 'ok: kill -9 of ff3fs run ends the command'
mkfifo "$tmp/hold2"
rm "$tmp/out"
ff3fs run --notify -- sh -c '(read x <'"$tmp/hold2"'; cat '"$prefix/d/link"' | tail -n 1 >'"$tmp/late"'; echo done >>'"$tmp/late"') & echo $!' >"$tmp/out" &
wait $!
equal 'a child that goes on' 0 "$?"
echo >"$tmp/hold2"
timeout 10 tail --pid="$(cat "$tmp/out")" -f /dev/null || die 'the child does not end'
equal 'is served when the command has ended' '20000 done' "$(tr '\n' ' ' <"$tmp/late" | sed 's/ $//')"

if [ -n "${busybox:-}" ]; then
	rm "$tmp/out"
	ff3fs run --notify -- "$busybox" sh -c "echo ready; read x; read y <$prefix/d/link; echo over" <"$tmp/hold" >"$tmp/out" 2>"$tmp/err" &
	runner=$!
	exec 8>"$tmp/hold"
	until [ -s "$tmp/out" ]; do kill -0 $runner || die 'the runner'; done
	kill -KILL "$(ps -o pid= --ppid $runner | tr -d ' ')"
	wait $runner
	equal 'the supervisor is killed' 1 "$?"
	echo >&8
	exec 8>&-
	until grep -q over "$tmp/out"; do read -r -t 0.05 <>"$tmp/pause"; done
	grep -q 'Function not' "$tmp/err" || { cat "$tmp/err"; die 'not ENOSYS'; }
	say 'ok: then calls that name files get ENOSYS'
fi

# --- Which programs need it -----------------------------------------------------------------------------
check 'cat does not' ff3fs check cat
printf '#!%s sh\n' "${busybox:-/nonexistent}" >"$tmp/script"
chmod +x "$tmp/script"
if [ -n "${busybox:-}" ]; then
	fails 'busybox does' 1 ff3fs check "$busybox"
	grep -q 'not served by the shim: it is statically linked; ff3fs run --notify' "$tmp/out" || die 'why'
	fails 'so does a script for it' 1 ff3fs check --json "$tmp/script"
	grep -q '"served":false,"why":"is statically linked","static":true' "$tmp/out" || die 'why'
	ff3fs run "$busybox" true 2>"$tmp/err"
	equal 'ff3fs run says it in a line' '1 1' "$(grep -c 'is statically linked: .*--notify' "$tmp/err") $(wc -l <"$tmp/err")"
fi
if [ -x "$tmp/walk" ]; then
	fails 'a Go program does' 1 ff3fs check "$tmp/walk"
	grep -q 'is a Go program' "$tmp/out" || die 'why'
fi
printf '#include <wordexp.h>\nint main(void) { return wordexp("x", 0, 0); }\n' >"$tmp/odd.c"
gcc -o "$tmp/odd" "$tmp/odd.c" -Wl,-rpath,"$prefix/lib" || die 'gcc'
fails 'a RUNPATH below the prefix' 1 ff3fs check "$tmp/odd"
grep -q "looks for libraries in $prefix/lib" "$tmp/out" && grep -q 'does not take: wordexp' "$tmp/out" ||
	{ cat "$tmp/out"; die 'RUNPATH, imports'; }
fails 'what is no program' 1 ff3fs check "$tmp/local/numbers"
fails 'what is not there' 4 ff3fs check no-such-program

# --- Dynamic programs keep the shim, which writes ------------------------------------------------------
equal 'a dynamic program writes through the shim' '3 three' \
	"$(run bash -c "printf 'one\ntwo\nthree\n' >$prefix/w; wc -l <$prefix/w; tail -n 1 $prefix/w" | tr '\n' ' ' | sed 's/ $//')"
if command -v strace >/dev/null && [ -n "${busybox:-}" ]; then
	# Reads and writes pass the filter; only calls with paths are asked about.
	strace -f -e trace=ioctl -o "$tmp/trace" ff3fs run --notify -- "$busybox" dd if=/dev/zero of=/dev/null bs=1 count=20000 2>/dev/null
	n=$(grep -c 'NOTIF_RECV\|SECCOMP_IOCTL_NOTIF_RECV\|_IOC.*0x21, 0 ' "$tmp/trace")
	[ "$n" -gt 0 ] && [ "$n" -lt 60 ] || die "$n calls were asked about for 20,000 reads and writes"
	say "ok: 20,000 reads and writes, $n calls asked about"
fi
