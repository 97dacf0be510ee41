#!/bin/bash
# ff3fs-mount: unchanged programs, static ones too, on a mount and on a local directory: the same
# output and exit status. Then what only a shared file system has: two mounts, a mount and the shim,
# other users, a daemon that goes away, a full cluster, unmounting.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd ff3fs
command -v ff3fs-mount >/dev/null || skip 'configured without FUSE'
if [ ! -c /dev/fuse ]; then
	mkdir "$tmp/m"
	refuses 'no /dev/fuse' 'no /dev/fuse' ff3fs-mount "$tmp/m"
	skip 'no /dev/fuse on this machine'
fi
(: <>/dev/fuse) 2>/dev/null || skip '/dev/fuse cannot be opened here'
[ "$(id -u)" -eq 0 ] || requires fusermount3

declare -A mount_pid
# mount_at DIR [ARGUMENT…]: mounts, and sets mount_pid[DIR].
mount_at() {
	local dir=$1 json
	shift
	mkdir -p "$dir"
	json=$(ff3fs-mount --json "$@" "$dir") || die "cannot mount $dir"
	mount_pid[$dir]=${json##*\"pid\":}
	mount_pid[$dir]=${mount_pid[$dir]%\}}
	cleanup_fn "unmount_quietly '$dir'"
}
unmount_quietly() { mountpoint -q "$1" && { umount -l "$1" || fusermount3 -uz "$1"; } 2>/dev/null; }
release() { if [ "$(id -u)" -eq 0 ]; then umount "$1"; else fusermount3 -u "$1"; fi; }
# gone PID: waits until a process that is no child of ours has ended.
gone() { timeout 20 tail --pid="$1" -f /dev/null || die "process $1 does not end"; }

mkdir "$tmp/f" "$tmp/m" "$tmp/local" "$tmp/scratch"
chmod 755 "$tmp" "$tmp/local" "$tmp/scratch"
: >"$tmp/file"
refuses 'a file is no mount point' 'not a directory' ff3fs-mount "$tmp/file"
refuses 'a directory that does not exist' 'no such file' ff3fs-mount "$tmp/none"
FF3FS_CLIENT_METAD=127.0.0.1:9 FF3FS_CLIENT_TIMEOUT=1s \
	refuses 'no cluster' 'cannot reach metad' ff3fs-mount "$tmp/m"
equal 'exit code' 5 "$refused_status"
fails 'usage' 2 ff3fs-mount
fails 'a timeout that is none' 2 ff3fs-mount -o attr_timeout=x "$tmp/m"
start_cluster 2
refuses 'a source that does not exist' 'no such file' ff3fs-mount none "$tmp/m"
on touch "$prefix/plain"
refuses 'a source that is a file' 'not a directory' ff3fs-mount "$prefix/plain" "$tmp/m"
on rm "$prefix/plain"
refuses 'an option that nobody knows' 'no_such_option' ff3fs-mount -o no_such_option "$tmp/m"

mount_at "$tmp/m"
say "ok: mounted by process ${mount_pid[$tmp/m]}"

# twin WHAT SCRIPT: runs it in both places, which are $D; the scripts go on in the same two trees.
export SCRATCH=$tmp/scratch
with=
twin() {
	(cd / && D=$tmp/local $with bash -c "$2") >"$tmp/want" 2>&1
	echo "status $?" >>"$tmp/want"
	(cd / && D=$tmp/m $with bash -c "$2") >"$tmp/got" 2>&1
	echo "status $?" >>"$tmp/got"
	sed -i "s,$tmp/local,DIR,g" "$tmp/want"
	sed -i "s,$tmp/m,DIR,g" "$tmp/got"
	diff "$tmp/want" "$tmp/got" || die "$1"
	say "ok: $1 ($(wc -l <"$tmp/want") lines)"
}

seq 1 20000 >"$tmp/scratch/numbers"
head -c 3000001 /dev/urandom >"$tmp/scratch/random"
twin 'copies and their parts' 'cd $D; cp $SCRATCH/* .; ls; cmp $SCRATCH/random random; md5sum *; head -c 7 random | od -c; tail -c 5 numbers
	dd if=random of=r7 bs=7 count=1000 status=none; md5sum r7; dd if=random of=dir bs=64k oflag=direct iflag=direct status=none; cmp random dir; tac numbers | head -1; cp --sparse=always random sp; cmp random sp; cp --reflink=auto random rl; cmp random rl; rm r7 dir sp rl'
twin 'trees' 'cd $D; cp -r /etc/apt t1; cp -a t1 t2; diff -r t1 t2 && echo same; tar cf - t1 | (mkdir x; tar xf - -C x); diff -r t1 x/t1 && echo same
	find t1 | LC_ALL=C sort; find t1 -type f -size +0 | wc -l; mv t2 t3; ls; rm -r t1 x; rmdir t3; echo $?; rm -rf t3; ls'
twin 'names' 'cd $D; mkdir -p d/e; echo a >d/a; echo b >b; mv -n b d/a; cat d/a; mv b d/a; cat d/a; ln d/a h; stat -c "%h %s %F" h d/a; ln -s d/a s; readlink s; cat s; ln -s nowhere dang; cat dang; test -L dang; echo $?
	mkdir d; echo $?; rmdir d; echo $?; ln d hd; echo $?; mv d d/e/f; echo $?; rm -r d h s dang; ls; mktemp -p . XXXXXXXXXX | wc -c; rm ./??????????'
twin 'modes, owners, times' 'cd $D; umask 027; echo x >f; mkdir g; stat -c "%a %F %u %g" f g; chmod 4751 f; stat -c %a f; touch -d @1000000000.5 f; stat -c "%Y %X" f; truncate -s 100 f; stat -c "%s %a" f; touch -r f h; test h -nt f; echo $?; chmod 1777 g; stat -c %a g; rm -r f g h'
twin 'unlinked and renamed while open' 'cd $D; exec 3<>o; echo first >&3; rm o; echo second >&3; stat -Lc "%s %h" /dev/fd/3; exec 3<&-; ls
	echo old >v; exec 4<v; echo new >w; mv w v; cat <&4; cat v; exec 4<&-; exec 5>>v; mv v y; echo more >&5; exec 5>&-; cat y; rm y; ls'
twin 'attributes of one'"'"'s own' 'cd $D; echo x >f; python3 -c "
import os
os.setxattr(\"f\", \"user.a\", b\"1\"); os.setxattr(\"f\", \"user.b\", b\"\")
print(sorted(os.listxattr(\"f\")), os.getxattr(\"f\", \"user.a\"))
os.removexattr(\"f\", \"user.a\"); print(os.listxattr(\"f\"))
for name in (\"user.a\",):
    try: os.getxattr(\"f\", name)
    except OSError as e: print(e.errno)
try: os.setxattr(\"f\", \"user.b\", b\"2\", os.XATTR_CREATE)
except OSError as e: print(e.errno)
"; rm f'
twin 'a directory of 3,000 names, read while it changes' 'cd $D; python3 -c "
import os
os.mkdir(\"n\")
for i in range(3000): open(\"n/%d\" % i, \"w\").close()
print(len(os.listdir(\"n\")), len({e.inode() for e in os.scandir(\"n\")}), sum(e.is_file() for e in os.scandir(\"n\")))
seen = []
for e in os.scandir(\"n\"):
    seen.append(e.name); os.unlink(\"n/\" + e.name)
print(len(seen), len(set(seen)), os.listdir(\"n\"))
os.rmdir(\"n\")"'
twin 'locks' 'cd $D; flock lk true; echo $?; (flock 9; flock -n lk true; echo held $?) 9>lk; flock -n lk true; echo free $?; python3 -c "
import fcntl, os
f = open(\"lk\", \"w\"); fcntl.lockf(f, fcntl.LOCK_EX, 10, 5)
if os.fork() == 0:
    g = open(\"lk\", \"w\")
    fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5)
    try: fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)
    except OSError as e: os._exit(e.errno)
print(os.waitstatus_to_exitcode(os.wait()[1]))"; rm lk'
twin 'programs and scripts there' 'cd $D; cp /bin/echo prog; ./prog ran; printf "#!$D/prog from\n" >scr; chmod +x scr; ./scr 1 2; PATH=$D:$PATH scr by path; readlink -f /proc/self/cwd; chmod -x prog; ./prog; echo $?; rm prog scr'
if command -v rsync >/dev/null; then
	twin 'rsync' 'cd $D; rsync -a /etc/apt/ r/; echo x >>r/sources.list; rsync -ac --delete --inplace /etc/apt/ r/; diff -r /etc/apt r && echo same; rm -r r'
fi
if command -v git >/dev/null; then
	twin 'git' 'cd $D; export GIT_AUTHOR_DATE="1 +0000" GIT_COMMITTER_DATE="1 +0000" HOME=$SCRATCH GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=n GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=e
	git init -q -b main g; cd g; cp -r /etc/apt .; git add .; git commit -q -m one; git rev-parse HEAD; echo x >apt/new; git add .; git commit -q -m two; git log --oneline; git status --short; git gc -q; git fsck; cd ..; git clone -q g h; diff -r g/apt h/apt; git -C h rev-parse HEAD; rm -rf g h'
fi
if command -v sqlite3 >/dev/null; then
	for mode in delete wal; do
		twin "sqlite, journal_mode $mode" 'cd $D; M='$mode'; sqlite3 q.db "pragma journal_mode=$M; create table t(a);insert into t select value from generate_series(1,5000);select sum(a) from t"
		for i in 1 2 3 4; do (sqlite3 -cmd ".timeout 20000" q.db "insert into t values(1)") & done; wait; sqlite3 q.db "select count(*) from t; pragma integrity_check"; rm q.db*'
	done
fi

# --- Programs that no library can be preloaded into ------------------------------------------------
if busybox=$(command -v busybox) && file -L "$busybox" | grep -q 'statically'; then
	export busybox
	twin 'static busybox' 'cd $D; $busybox cp $SCRATCH/random r; $busybox sha1sum r; $busybox ls -la | $busybox wc -l; $busybox find . | $busybox sort; $busybox tail -c 10 r | $busybox od -c; $busybox sed -n 5p numbers; $busybox grep -c 9 numbers; $busybox mkdir d; $busybox mv r d; $busybox tar c d | $busybox tar t; $busybox rm -r d'
else
	say 'skipped: static busybox is not installed'
fi
if command -v go >/dev/null; then
	check 'builds a Go program' env HOME="$tmp" GO111MODULE=off CGO_ENABLED=0 go build -o "$tmp/walk" "$srcdir/tests/walk.go"
	export walk=$tmp/walk
	twin 'a Go program' '$walk -write $D | grep -v "^$D d"'
else
	say 'skipped: go is not installed'
fi

# --- Random reads, writes, truncations, mappings; two mounts --------------------------------------
mount_at "$tmp/two"
if [ -x /usr/bin/python3 ]; then
	steps=200
	[ "${SCALE:-}" = full ] && steps=20000
	check 'a file against its model' /usr/bin/python3 "$srcdir/tests/mount_model.py" "$tmp/m/model" - $steps $((RANDOM))
	check 'the same, with a second mount looking on' /usr/bin/python3 "$srcdir/tests/mount_model.py" \
		"$tmp/m/model2" "$tmp/two/model2" $steps $((RANDOM))
	rm "$tmp/m/model" "$tmp/two/model2"
fi
equal 'a removal is seen by the other mount at once' '' "$(ls -d "$tmp"/*/model* 2>/dev/null)"
echo one >"$tmp/m/seen"
equal 'so is a file' one "$(cat "$tmp/two/seen")"
echo two >"$tmp/two/seen"
equal 'and its new contents' two "$(cat "$tmp/m/seen")"
mv "$tmp/two/seen" "$tmp/two/renamed"
equal 'and its new name' two "$(cat "$tmp/m/renamed")"
chmod 600 "$tmp/m/renamed"
equal 'and its mode' 600 "$(stat -c %a "$tmp/two/renamed")"
(for i in {1..200}; do echo "m $i"; done >>"$tmp/m/log") &
first=$!
(for i in {1..200}; do echo "two $i"; done >>"$tmp/two/log")
wait $first
equal 'both append to one file' '400 400' "$(wc -l <"$tmp/m/log") $(sort -u "$tmp/two/log" | wc -l)"

# --- The mount and the shim on the same files ------------------------------------------------------
on bash -c "echo by the shim >$prefix/both; cp $prefix/numbers $prefix/numbers2"
equal 'the mount sees what the shim wrote' 'by the shim' "$(cat "$tmp/m/both")"
check 'as a whole' cmp "$tmp/scratch/numbers" "$tmp/m/numbers2"
echo by the mount >>"$tmp/m/both"
equal 'the shim sees what the mount wrote' 'by the mount' "$(on tail -n 1 "$prefix/both")"
for who in m shim; do
	dir=$tmp/m with= writers=${writers:-}
	[ $who = shim ] && dir=$prefix with=on
	$with /usr/bin/python3 -c "
import sys
with open('$dir/shared', 'ab', buffering=0) as f:
    for i in range(300): f.write(b'%s %04d\n' % (b'$who', i))" &
	writers="$writers $!"
done
wait $writers
equal 'both append at once' '600 600' "$(wc -l <"$tmp/m/shared") $(on sort -u "$prefix/shared" | wc -l)"
equal 'ioctl: any alignment' 1 "$(/usr/bin/python3 -c "
import fcntl, struct
print(struct.unpack('i', fcntl.ioctl(open('$tmp/m/both'), 0x80046664, b'0000'))[0])")"
on rm "$prefix/both" "$prefix/shared" "$prefix/numbers2" "$prefix/log" "$prefix/renamed"

# --- Locks, everywhere the same --------------------------------------------------------------------
lock_twice() { # lock_twice WHAT FIRST SECOND: who has the file by FIRST keeps SECOND from it
	/usr/bin/python3 - "$2" "$3" <<-'PYTHON' || die "locks: $1"
		import fcntl, os, subprocess, sys, time
		def ask(path, kind, mode):
		    # each in a process of its own, with the shim where the path is the prefix's
		    code = ("import fcntl, sys\nf = open(sys.argv[1], 'r+')\n"
		            "try: fcntl.%s(f, fcntl.%s)\nexcept BlockingIOError: print('busy')\n"
		            "else: print('got')\nsys.stdout.flush(); sys.stdin.read()" % (kind, mode))
		    env = dict(os.environ)
		    if not path.startswith(os.environ['TMPTOP']):
		        env['LD_PRELOAD'] = os.environ['SHIM']
		    return subprocess.Popen([sys.executable, '-c', code, path], stdin=subprocess.PIPE,
		                            stdout=subprocess.PIPE, text=True, env=env)
		for kind in ('flock', 'lockf'):
		    for mode, want in (('LOCK_EX', 'busy'), ('LOCK_SH', 'got')):
		        a = ask(sys.argv[1], kind, mode)
		        assert a.stdout.readline() == 'got\n'
		        b = ask(sys.argv[2], kind, mode + ' | fcntl.LOCK_NB')
		        got = b.stdout.readline().strip()
		        assert got == want, (kind, mode, got)
		        b.communicate('')
		        if want == 'busy':
		            c = ask(sys.argv[2], kind, mode) # waits
		            a.communicate('')
		            assert c.stdout.readline() == 'got\n'
		            c.communicate('')
		        else:
		            a.communicate('')
	PYTHON
	say "ok: locks: $1"
}
export TMPTOP=$tmp SHIM=${sanitizer_runtime:+$sanitizer_runtime:}$shim
echo >"$tmp/m/lock"
lock_twice 'one mount' "$tmp/m/lock" "$tmp/m/lock"
lock_twice 'two mounts' "$tmp/m/lock" "$tmp/two/lock"
lock_twice 'a mount, then the shim' "$tmp/m/lock" "$prefix/lock"
lock_twice 'the shim, then a mount' "$prefix/lock" "$tmp/two/lock"
rm "$tmp/m/lock"
twin 'a named pipe' 'cd $D; mkfifo p; stat -c %F p; echo through >p & cat p; wait; rm p'

# --- The shim uses the mount -------------------------------------------------------------------------
# At the prefix itself: the same outputs as in a local directory, also where only the kernel can know.
(
	export FF3FS_CLIENT_PREFIX=$tmp/m
	with=on
	cat >"$tmp/scratch/lib.c" <<-'C'
		int from_library(void) { return 42; }
	C
	cat >"$tmp/scratch/main.c" <<-'C'
		#include <stdio.h>
		int from_library(void);
		int main(void) { printf("%d\n", from_library()); return 0; }
	C
	export busybox=${busybox:-/bin/true}
	twin 'prefix and mount: programs know where they are' 'cd $D; cp /usr/bin/readlink rl; ./rl /proc/self/exe; $D/rl /proc/self/exe; (cd / && exec $D/rl /proc/self/exe); python3 -c "import subprocess; print(subprocess.run([\"$D/rl\", \"/proc/self/exe\"], capture_output=True, text=True).stdout)"; rm rl'
	twin 'prefix and mount: libraries by RUNPATH, $ORIGIN and LD_LIBRARY_PATH' 'cd $D; mkdir lib; gcc -shared -fPIC -o lib/libx.so $SCRATCH/lib.c; gcc -o a $SCRATCH/main.c -Llib -lx -Wl,-rpath,$D/lib; ./a; gcc -o b $SCRATCH/main.c -Llib -lx -Wl,-rpath,"\$ORIGIN/lib"; ./b; gcc -o c $SCRATCH/main.c -Llib -lx; LD_LIBRARY_PATH=$D/lib:$LD_LIBRARY_PATH ./c; rm -r lib a b c'
	twin 'prefix and mount: an interpreter below it' 'cd $D; cp /bin/echo ec; printf "#!$D/ec said\n" >$SCRATCH/scr; chmod +x $SCRATCH/scr; $SCRATCH/scr 1; printf "#!$D/ec here\n" >scr; chmod +x scr; ./scr 2; PATH=$D:$PATH scr 3; rm ec scr'
	twin 'prefix and mount: static programs in a working directory' 'mkdir -p $D/w/x; echo hi >$D/w/x/f; cd $D/w; $busybox pwd; $busybox ls; cd x; $busybox cat f; cd ..; $busybox ls x; pwd; /bin/pwd; cat x/f; sh -c "cd x; pwd; cat f; $busybox cat f"; cd ..; rm -r w; pwd; cd /; pwd; /bin/pwd'
	twin 'prefix and mount: the shim writes, a static program reads, and back' 'cd $D; echo one >f; $busybox cat f; $busybox sh -c "echo two >>f"; cat f; exec 5>>f; echo three >&5; $busybox cat f; exec 5>&-; $busybox mv f g; cat g; mv g h; $busybox rm h; ls -la h'
) || exit
equal 'a mount elsewhere, told by client.mount' "$tmp/m/rl" \
	"$(FF3FS_CLIENT_MOUNT=$tmp/m on bash -c "cp /usr/bin/readlink $prefix/rl; $prefix/rl /proc/self/exe")"
mkdir "$tmp/m/part"
mount_at "$tmp/part" part
equal 'not one of a part' '/memfd:ff3fs-exec (deleted)' \
	"$(FF3FS_CLIENT_MOUNT=$tmp/part on bash -c "$prefix/rl /proc/self/exe")"
release "$tmp/part" || die 'unmounting'
rm "$tmp/m/rl"
rmdir "$tmp/m/part"

# --- A subdirectory; other users --------------------------------------------------------------------
mkdir -p "$tmp/m/sub/deep"
echo below >"$tmp/m/sub/deep/f"
mount_at "$tmp/s" sub
equal 'a subdirectory alone' 'deep below' "$(echo "$(ls "$tmp/s")" "$(cat "$tmp/s/deep/../deep/f")")"
release "$tmp/s" || die 'unmounting'
gone "${mount_pid[$tmp/s]}"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	mkdir -m 1777 "$tmp/m/tmp"
	mkdir -m 770 "$tmp/m/group"
	chgrp 4242 "$tmp/m/group"
	as() { setpriv --reuid 4321 --regid 4321 --groups 4242 --inh-caps=-all "$@"; }
	as bash -c "cd $tmp/m/tmp && echo x >f && mkdir d && ln -s f l && echo y >../group/g" || die 'as a user'
	equal 'files belong to who makes them' '4321 4321 4321 4321 4321' \
		"$(echo $(stat -c %u "$tmp"/m/tmp/{f,d,l}) $(stat -c %u "$tmp/m/group/g") "$(stat -c %g "$tmp/m/tmp/f")")"
	fails 'what is not theirs stays closed' 1 as bash -c "echo x >$tmp/m/sub/no"
	grep -q -i 'permission denied' "$tmp/err" || die 'no permission, and another error'
	echo secret >"$tmp/m/secret"
	chmod 600 "$tmp/m/secret"
	fails 'nor can they read it' 1 as cat "$tmp/m/secret"
	rm -r "$tmp/m/tmp" "$tmp/m/group"
fi

# --- A daemon that goes away ------------------------------------------------------------------------
cp "$tmp/scratch/random" "$tmp/m/before"
(for i in {1..12}; do cp "$tmp/scratch/random" "$tmp/m/during.$i" || exit; done) &
copier=$!
while [ ! -e "$tmp/m/during.3" ]; do kill -0 $copier || break; done
kill_daemon "${chunkd_pid[1]}"
start_chunkd 1
kill_daemon "$metad_pid"
start_metad
wait $copier || die 'a copy failed while daemons were killed and started again'
for f in "$tmp"/m/before "$tmp"/m/during.*; do cmp "$tmp/scratch/random" "$f" || die "$f"; done
say 'ok: daemons killed and started again under a copy'
rm "$tmp"/m/during.* "$tmp/m/before"

# --- Memory stays flat ------------------------------------------------------------------------------
soak() { # soak N: makes, reads, lists and removes N files
	/usr/bin/python3 -c "
import os, sys
d = sys.argv[1] + '/soak'
os.mkdir(d)
for i in range(int(sys.argv[2])):
    p = '%s/%d' % (d, i)
    with open(p, 'w') as f:
        if i % 20 == 0: f.write('x') # (is made durable)
    os.stat(p); os.rename(p, p + '.r'); open(p + '.r').read()
    if i % 100 == 0: os.listdir(d)
    os.unlink(p + '.r')
os.rmdir(d)" "$tmp/m" "$1"
}
soak 60
rss=$(awk '/^RssAnon/ { print $2 }' "/proc/${mount_pid[$tmp/m]}/status")
soak $([ "${SCALE:-}" = full ] && echo 100000 || echo 250)
grown=$(($(awk '/^RssAnon/ { print $2 }' "/proc/${mount_pid[$tmp/m]}/status") - rss))
[ $grown -lt 4096 ] || die "many files later it has $grown KiB more"
say "ok: many files later it has $grown KiB more"
equal 'no descriptor is left' 0 "$(ls -l "/proc/${mount_pid[$tmp/m]}/fd" | grep -c deleted)"

# --- The end ------------------------------------------------------------------------------------------
mkfifo "$tmp/.hold" "$tmp/.hold2"
exec 6>"$tmp/m/open"
echo written >&6
if [ "$(id -u)" -eq 0 ]; then
	umount "$tmp/m" 2>/dev/null && die 'unmounted while a file was open'
	say 'ok: not unmounted while a file is open'
fi
/usr/bin/python3 -c "
import mmap, os, sys
f = open('$tmp/two/mapped', 'w+b'); f.truncate(8192)
m = mmap.mmap(f.fileno(), 8192)
m[4090:4100] = b'0123456789'
sys.stdout.write('mapped\n'); sys.stdout.flush()
sys.stdin.read()" <"$tmp/.hold" >"$tmp/mapper" &
mapper=$!
exec 7>"$tmp/.hold"
until [ -s "$tmp/mapper" ]; do kill -0 $mapper || die 'mapper'; read -r -t 0.05 <>"$tmp/.hold2"; done
kill -TERM "${mount_pid[$tmp/two]}"
gone "${mount_pid[$tmp/two]}"
mountpoint -q "$tmp/two" && die 'SIGTERM left it mounted'
exec 7>&-
wait $mapper
equal 'SIGTERM writes what a mapping held' 0123456789 "$(dd if="$tmp/m/mapped" bs=1 skip=4090 count=10 status=none)"
kill -TERM "${mount_pid[$tmp/m]}"
gone "${mount_pid[$tmp/m]}"
echo late 2>/dev/null >&6 && die 'a write after the end'
exec 6>&-
equal 'and what was written' written "$(on cat "$prefix/open")"
mountpoint -q "$tmp/m" && die 'SIGTERM left it mounted'
mount_at "$tmp/m" -o ro
fails 'mounted again, read-only' 1 bash -c "echo x >$tmp/m/new"
release "$tmp/m" || die 'unmounting'
gone "${mount_pid[$tmp/m]}"
say 'ok: unmounting ends the process'

# --- A full cluster -----------------------------------------------------------------------------------
kill_daemon "${chunkd_pid[2]}" TERM
kill_daemon "${chunkd_pid[1]}" TERM
kill_daemon "$metad_pid" TERM
rm -rf "$tmp"/metad "$tmp"/chunkd.[12]
FF3FS_CHUNKD_CAPACITY=64M start_cluster 1
mount_at "$tmp/m"
fails 'a full cluster' 1 dd if=/dev/urandom of="$tmp/m/big" bs=1M count=200 conv=fsync
grep -q 'No space left' "$tmp/err" || { cat "$tmp/err"; die 'not ENOSPC'; }
rm "$tmp/m/big"
for ((i = 0; i < 100; i++)); do # chunks are collected in the background
	cp "$tmp/scratch/random" "$tmp/m/again" 2>/dev/null && break
	read -r -t 0.1 <>"$tmp/.hold2"
done
check 'and room again after a removal' cmp "$tmp/scratch/random" "$tmp/m/again"
