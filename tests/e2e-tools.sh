#!/bin/bash
# Every command of ff3fs against a real cluster: what it does, what it prints, its exit codes, and
# what it says when something is wrong.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs ff3fs-metad ff3fs-chunkd ff3fs-put ff3fs-get
requires_python json
unset FF3FS_CONF

dir=$tmp/cluster
cleanup_fn 'ff3fs dev down --dir "$dir" >/dev/null 2>&1'
check 'cluster' ff3fs dev up --dir "$dir" --host "$test_host" --chunkd 2 --memory 64M --prefix /t
eval "$(ff3fs dev env --dir "$dir")"

# json EXPRESSION: over the JSON lines of $tmp/out, called d (the first) and all.
json() {
	/usr/bin/python3 -c "
import json
all = [json.loads(l) for l in open('$tmp/out')]
d = all[0] if all else None
print($1)"
}
# stderr_has WORDS: and stdout is empty.
stderr_has() {
	grep -q -e "$1" "$tmp/err" || die "stderr has no '$1': $(cat "$tmp/err")"
	[ ! -s "$tmp/out" ] || die "stdout is not empty: $(cat "$tmp/out")"
}

# --- mkdir, ls, stat ----------------------------------------------------------------------------
fails 'mkdir' 0 ff3fs mkdir /t/a /t/b
fails 'mkdir of what exists' 1 ff3fs mkdir /t/a
stderr_has '^ff3fs mkdir: /t/a: File exists'
fails 'mkdir without parent' 4 ff3fs mkdir /t/x/y
stderr_has '^ff3fs mkdir: /t/x/y: No such file or directory'
fails 'mkdir, one of two' 3 ff3fs mkdir /t/a /t/c
fails 'mkdir -p' 0 ff3fs mkdir -p --json /t/x/y/z x/y/z
equal 'mkdir -p made' 3 "$(json 'd["made"]')"
fails 'mkdir -n' 0 ff3fs mkdir -n /t/planned
fails 'mkdir -n made nothing' 4 ff3fs stat /t/planned
fails 'mkdir -m' 0 ff3fs mkdir -m 700 /t/private
fails 'mkdir -m with nonsense' 2 ff3fs mkdir -m 9 /t/private2
fails 'stat' 0 ff3fs stat --json /t/private
equal 'stat: mode' $((0700)) "$(json 'd["mode"]')"
equal 'stat: type' directory "$(json 'd["type"]')"

printf 'hello\n' >"$tmp/hello"
head -c 2500000 /dev/urandom >"$tmp/big"
check 'put' ff3fs-put -q "$tmp/hello" /t/a/hello
check 'put' ff3fs-put -q "$tmp/big" /t/a/.big
ln -s hello "$tmp/link"
mkdir "$tmp/d"
ln -s ../hello "$tmp/d/link"
check 'put' ff3fs-put -q -r "$tmp/d" /t/a
fails 'ls' 0 ff3fs ls /t/a
equal 'ls' 'd hello' "$(xargs <"$tmp/out")"
fails 'ls -a' 0 ff3fs ls -a /t/a
equal 'ls -a' '.big d hello' "$(xargs <"$tmp/out")"
fails 'ls -R' 0 ff3fs ls -R /t/a
equal 'ls -R' '/t/a: d hello /t/a/d: link' "$(xargs <"$tmp/out")"
fails 'ls -l --bytes' 0 ff3fs ls -l -a --bytes /t/a
grep -q -E '^-rw[-r]{7} +1 [^ ]+ +[^ ]+ +2500000 20[0-9-]+ [0-9:]+ \.big$' "$tmp/out" ||
	die "ls -l: $(cat "$tmp/out")"
fails 'ls -l of a link' 0 ff3fs ls -l /t/a/d
grep -q ' link -> ../hello$' "$tmp/out" || die "ls -l: $(cat "$tmp/out")"
fails 'ls --json -R' 0 ff3fs ls --json -R /t/a
equal 'ls --json -R' '[("a/d", "directory"), ("a/hello", "file"), ("a/d/link", "symlink")]' \
	"$(json '[(x["path"], x["type"]) for x in all]' | tr "'" '"')"
fails 'ls -U' 0 ff3fs ls -U -R /t
fails 'ls of a file' 0 ff3fs ls /t/a/hello
fails 'ls of the root' 0 ff3fs ls
equal 'ls of the root' 'a b c private x' "$(xargs <"$tmp/out")"
fails 'ls of nothing' 4 ff3fs ls /t/none
stderr_has '^ff3fs ls: /t/none: No such file or directory'
fails 'ls of something and nothing' 3 ff3fs ls /t/a /t/none
fails 'stat --json' 0 ff3fs stat --json /t/a/.big /t/a/hello
equal 'stat: sizes' '[2500000, 6]' "$(json '[x["size"] for x in all]')"
equal 'stat: chains' True "$(json 'len(d["layout"]["chains"]) >= 1')"
fails 'stat' 0 ff3fs stat /t/a/hello
fails 'stat below a file' 1 ff3fs stat /t/a/hello/x
stderr_has 'Not a directory'
name=$(printf 'n%.0s' {1..256})
fails 'stat of a long name' 1 ff3fs stat "/t/$name"
stderr_has 'File name too long'
fails 'mkdir with 255 bytes' 0 ff3fs mkdir "/t/b/${name:1}"
fails 'rm of it' 0 ff3fs rm -r "/t/b/${name:1}"

# --- mv, rm -------------------------------------------------------------------------------------
fails 'mv' 0 ff3fs mv /t/a/hello /t/a/hi
fails 'mv into a directory' 0 ff3fs mv /t/a/hi /t/b
fails 'mv moved' 0 ff3fs stat /t/b/hi
fails 'mv of nothing' 4 ff3fs mv /t/a/none /t/b
stderr_has 'ff3fs mv: /t/a/none: No such file'
fails 'mv --no-replace' 1 ff3fs mv --no-replace /t/a/.big /t/b/hi
stderr_has 'File exists'
fails 'mv -n' 0 ff3fs mv -n /t/b/hi /t/b/ho
fails 'mv -n moved nothing' 0 ff3fs stat /t/b/hi
fails 'mv of several to a file' 2 ff3fs mv /t/a/.big /t/a/d /t/b/hi
fails 'mv of several' 0 ff3fs mv --json /t/a/.big /t/a/d /t/b
equal 'mv of several' 2 "$(json 'd["renamed"]')"
fails 'rm of a directory' 1 ff3fs rm /t/b
stderr_has 'is a directory; remove it with -r'
fails 'rm of nothing' 4 ff3fs rm /t/none
fails 'rm -f of nothing' 0 ff3fs rm -f /t/none
fails 'rm -r -n' 0 ff3fs rm -r -n /t/b
fails 'rm -r -n removed nothing' 0 ff3fs stat /t/b/hi /t/b/d/link
fails 'rm of the root' 1 ff3fs rm -r /t
stderr_has 'refusing'
fails 'rm -r' 0 ff3fs rm -r --wait --json /t/b
equal 'rm -r' '3 2 0' "$(json 'd["files"], d["directories"], d["failed"]' | tr -d '(),')"
fails 'rm removed it' 4 ff3fs stat /t/b

# --- layout, df ---------------------------------------------------------------------------------
fails 'layout set' 0 ff3fs layout set --chunk-size 4M --stripe 2 /t/a
check 'put' ff3fs-put -q "$tmp/hello" /t/a/h
fails 'layout get' 0 ff3fs layout get --json /t/a /t/a/h
equal 'layout get' '4194304 2 4194304 2 True' \
	"$(json '*[n for x in all for n in (x["chunk_size"], x["stripe"])], d["own"]')"
fails 'layout set of a part' 0 ff3fs layout set --stripe 1 --json /t/a
equal 'layout set of a part' '4194304 1' "$(json 'd["chunk_size"], d["stripe"]' | tr -d '(),')"
fails 'layout set --inherit' 0 ff3fs layout set --inherit /t/a
fails 'layout get' 0 ff3fs layout get --json /t/a
equal 'layout inherited' False "$(json 'd["own"]')"
fails 'layout set of nonsense' 2 ff3fs layout set --chunk-size 100000 /t/a
fails 'layout set without anything' 2 ff3fs layout set /t/a
fails 'layout set of a file' 1 ff3fs layout set --stripe 1 /t/a/h
fails 'layout get of nothing' 4 ff3fs layout get /t/none
fails 'df' 0 ff3fs df --json
equal 'df' True "$(json 'd["capacity"] > 0 and d["capacity"] >= d["used"] + 0 and d["inodes"] > 3')"
fails 'df' 0 ff3fs df

# --- put and get: what is wrong -----------------------------------------------------------------
fails 'put of nothing' 4 ff3fs-put "$tmp/none" /t/none
stderr_has "^ff3fs-put: $tmp/none: No such file or directory"
fails 'put of a directory' 1 ff3fs-put "$tmp/d" /t/dd
stderr_has 'is a directory; copy it with -r'
fails 'put into nothing' 4 ff3fs-put "$tmp/hello" /t/none/x
stderr_has '^ff3fs-put: /t/none/x: No such file or directory'
fails 'put of several to a file' 2 ff3fs-put "$tmp/hello" "$tmp/big" /t/a/h
fails 'put of ff3fs to ff3fs' 2 ff3fs-put /t/a/h /t/a/h2
stderr_has 'ff3fs run'
mkfifo "$tmp/d/fifo"
fails 'put of a fifo' 3 ff3fs-put -r "$tmp/d" /t/dd
grep -q "$tmp/d/fifo: skipped" "$tmp/err" || die "$(cat "$tmp/err")"
rm "$tmp/d/fifo"
fails 'put, one of two' 3 ff3fs-put "$tmp/hello" "$tmp/none" /t/a
fails 'get of nothing' 4 ff3fs-get /t/none "$tmp/x"
stderr_has 'ff3fs-get: .*none: No such file or directory'
fails 'get of a directory' 1 ff3fs-get /t/a "$tmp/x"
fails 'get into nothing' 4 ff3fs-get /t/a/h "$tmp/none/x"
stderr_has "$tmp/none/x: No such file or directory"
fails 'get over a directory of files' 1 ff3fs-get -T /t/a/h "$tmp/d"
fails 'get --json to stdout' 2 ff3fs-get --json /t/a/h -
if [ "$(id -u)" -ne 0 ]; then
	mkdir -m 555 "$tmp/readonly"
	fails 'get into an unwritable directory' 7 ff3fs-get /t/a/h "$tmp/readonly"
	stderr_has 'Permission denied'
	touch "$tmp/secret"
	chmod 0 "$tmp/secret"
	fails 'put of an unreadable file' 7 ff3fs-put "$tmp/secret" /t/secret
elif mkdir "$tmp/small" && mount -t tmpfs -o size=1m none "$tmp/small" 2>/dev/null; then
	cleanup_fn 'umount "$tmp/small"'
	check 'put' ff3fs-put -q "$tmp/big" /t/big
	fails 'get to a full disk' 8 ff3fs-get /t/big "$tmp/small/big"
	stderr_has 'No space left on device'
	[ -z "$(ls -A "$tmp/small")" ] || die "a temporary file was left: $(ls -A "$tmp/small")"
	fails 'a full stdout' 1 bash -c 'ff3fs ls -R /t >/dev/full'
	mount -o remount,ro "$tmp/small"
	fails 'get to a read-only file system' 1 ff3fs-get /t/a/h "$tmp/small/h"
	stderr_has 'Read-only file system'
fi
[ -z "$(ff3fs ls -a -R --json /t | grep ff3fs-put)" ] || die 'a temporary file was left on ff3fs'

# --- Another user -------------------------------------------------------------------------------
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	# The build directory and $tmp may be closed to others.
	public=$(mktemp -d /tmp/ff3fs-public.XXXXXX)
	cleanup_fn 'rm -rf "$public"'
	cp -L "$(find_built ff3fs)" "$(find_built ff3fs-put)" "$library" "$FF3FS_CONF" "$public"
	! module=$(find_built libff3fs_verbs.so) || cp "$module" "$public"
	ln -s libff3fs.so "$public/libff3fs.so.0"
	chmod -R a+rX "$public"
	nobody() {
		setpriv --reuid 65534 --regid 65534 --clear-groups env FF3FS_CONF="$public/ff3fs.conf" \
			LD_LIBRARY_PATH="$public" "$public/$1" "${@:2}"
	}
	fails 'another user' 0 nobody ff3fs ls /t/a
	fails 'what is private is not shown' 7 nobody ff3fs ls /t/private
	stderr_has '^ff3fs ls: /t/private: Permission denied'
	fails 'what is not mine is not removed' 7 nobody ff3fs rm -f /t/a/h
	fails 'put where I may not' 7 nobody ff3fs-put /etc/passwd /t/a/x
	stderr_has '^ff3fs-put: /t/a/x: Permission denied'
fi

# --- Configuration and daemons ------------------------------------------------------------------
conf=$FF3FS_CONF
printf '[client]\nmetda = 127.0.0.1:1\n' >"$tmp/bad.conf"
for command in 'ff3fs ls' 'ff3fs df' "ff3fs-put $tmp/hello /t/x" "ff3fs-get /t/x $tmp/x" 'ff3fs-admin status'; do
	# shellcheck disable=SC2086
	fails "$command with a broken configuration" 1 $command --conf "$tmp/bad.conf"
	stderr_has "bad.conf:2: unknown key 'metda' in \[client\] (did you mean 'metad'?)"
	# shellcheck disable=SC2086
	fails "$command without its configuration" 4 $command --conf "$tmp/none.conf"
	# shellcheck disable=SC2086
	FF3FS_CONF='' FF3FS_CLIENT_TIMEOUT=long fails "$command with a broken environment" 1 $command
	stderr_has 'FF3FS_CLIENT_TIMEOUT=long'
done
fails 'a wrong address' 5 ff3fs ls --timeout 300ms --metad 127.0.0.1:1
stderr_has 'cannot reach metad at 127.0.0.1:1'
fails 'an address that is none' 5 ff3fs ls --timeout 300ms --metad no.such.host.invalid:1
check 'down' ff3fs dev down --dir "$dir"
for command in 'ff3fs ls' 'ff3fs stat /t/a' 'ff3fs df' 'ff3fs rm /t/a/h' 'ff3fs mkdir /t/q' \
	'ff3fs mv /t/a /t/q' 'ff3fs layout get /t/a' "ff3fs-put $tmp/hello /t/x" "ff3fs-get /t/x $tmp/x"; do
	# shellcheck disable=SC2086
	fails "$command with the daemons down" 5 $command --timeout 300ms
	stderr_has 'hint: is the cluster running'
done
fails 'ff3fs-admin with the daemons down' 5 ff3fs-admin status
check 'up' ff3fs dev up --dir "$dir"
check 'kill' ff3fs dev kill chunkd --dir "$dir"
fails 'get without chunk daemons' 5 ff3fs-get --timeout "$(slower 300)ms" /t/a/h "$tmp/x"
stderr_has 'chunk 0 of inode .* at [0-9.]*:[0-9]*: Connection refused'
[ ! -e "$tmp/x" ] || die 'something was written'
fails 'ls without chunk daemons' 0 ff3fs ls /t/a
check 'up' ff3fs dev up --dir "$dir"
fails 'get after it' 0 ff3fs-get -q /t/a/h "$tmp/x"
check 'equal' cmp "$tmp/x" "$tmp/hello"

# --- run ----------------------------------------------------------------------------------------
if [ -n "$shim" ] && [ -z "$sanitizer_runtime" ]; then
	fails 'run' 0 ff3fs run -- cat /t/a/h
	equal 'run' hello "$(cat "$tmp/out")"
	fails 'run: the status of the command' 42 ff3fs run bash -c 'exit 42'
	fails 'run: no such command' 127 ff3fs run /no/such/command
	fails 'run: not executable' 126 ff3fs run "$tmp/hello"
	LD_PRELOAD=libm.so.6 fails 'run: in front of another' 0 ff3fs run printenv LD_PRELOAD
	grep -q 'libff3fs_preload.so:libm.so.6$' "$tmp/out" || die "LD_PRELOAD: $(cat "$tmp/out")"
	fails 'run --prefix' 0 ff3fs run --prefix /elsewhere cat /elsewhere/a/h
	equal 'run --prefix' hello "$(cat "$tmp/out")"
	equal 'the configuration is as before' "$conf" "$FF3FS_CONF"
fi
