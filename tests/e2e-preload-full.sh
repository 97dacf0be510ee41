#!/bin/bash
# FF3FS_INTERCEPT: with "full", what goes past interposition is served; with "check", it is reported;
# without, it fails. Programs run once on a local directory, as control, and once on the prefix.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd gcc
calls=$(find_built preload-syscalls) || die 'preload-syscalls is not built'

start_cluster 2
mkdir "$tmp/local"
full() { FF3FS_INTERCEPT=full on "$@"; }
# In the mode check nothing else may differ, and FF3FS_LOG gets the leaks.
checked() { FF3FS_INTERCEPT=check FF3FS_LOG=$tmp/leaks on "$@"; }

equal 'an unknown mode' 'ff3fs preload: FF3FS_INTERCEPT: expected hooks, full, check or abort: some' \
	"$(FF3FS_INTERCEPT=some on /bin/true 2>&1)"
said=$(full /bin/true 2>&1)
case $said in
*'not supported here'*) [ "$(uname -m)" = x86_64 ] || skip "$said" ;;
esac
equal 'nothing is said where it is supported' '' "$said"

# The instruction in the program itself.
"$calls" inline "$tmp/local" >"$tmp/want"
full "$calls" inline "$prefix" >"$tmp/got"
equal 'status of inline system calls' 7 $?
diff "$tmp/want" "$tmp/got" || die 'inline system calls are not what they are on a local directory'
say "ok: $(wc -l <"$tmp/got") inline system calls"
FF3FS_INTERCEPT=hooks on "$calls" inline "$prefix" >"$tmp/got" 2>&1
grep -q '^CALL(stat, at("f"), &st) = -1 ENOENT' "$tmp/got" || die 'an inline system call is served without being asked for'
grep -q 'CALL(read.* = [1-9]' "$tmp/got" && die 'an inline read is served without being asked for'
say 'ok: without the mode they fail'

# Streams of wide characters, whose functions are hooked, and not called as other functions of libc are.
cases=$(find_built preload-posix) || die 'preload-posix is not built'
wide=$("$cases" list | grep '^wide_')
mkdir "$tmp/local/wide" && on mkdir "$prefix/wide" || die 'mkdir'
"$cases" run "$tmp/local/wide" $wide >"$tmp/want" 2>&1
full "$cases" run "$prefix/wide" $wide >"$tmp/got" 2>&1
diff "$tmp/want" "$tmp/got" || die 'wide characters are not what they are on a local directory'
say "ok: $(wc -l <"$tmp/got") lines of wide characters"

# Around us: objects bound to libc directly, another libc, and libc's own functions by their handle.
cat >"$tmp/plugin.c" <<'C'
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int plugin(const char *dir)
{
	char path[4096], line[100] = "nothing";
	int fd, entries = 0;
	struct stat st;
	FILE *f;
	DIR *d;
	snprintf(path, sizeof path, "%s/plugin", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	printf("open %s\n", fd < 0 ? "failed" : "worked");
	printf("write %zd\n", write(fd, "line one\nline two\n", 18));
	printf("fstat %d\n", fstat(fd, &st) < 0 ? -1 : (int)st.st_size);
	close(fd);
	f = fopen(path, "r+");
	if (f) {
		fgets(line, sizeof line, f);
		fgets(line, sizeof line, f);
		fprintf(f, "line three\n");
		fclose(f);
	}
	printf("fgets %s\n", line);
	printf("stat %d\n", stat(path, &st) < 0 ? -1 : (int)st.st_size);
	d = opendir(dir);
	while (d && readdir(d))
		entries++;
	printf("entries %d\n", entries);
	fflush(stdout);
	return 0;
}
C
cat >"$tmp/host.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
	void *h = strcmp(argv[1], "dlmopen") == 0 ? dlmopen(LM_ID_NEWLM, argv[2], RTLD_NOW) :
						    dlopen(argv[2], RTLD_NOW | RTLD_DEEPBIND);
	int (*f)(const char *) = h ? dlsym(h, "plugin") : NULL;
	if (!f)
		return printf("%s\n", dlerror()), 1;
	return f(argv[3]);
}
C
gcc -shared -fPIC -o "$tmp/plugin.so" "$tmp/plugin.c" && gcc -o "$tmp/host" "$tmp/host.c" -ldl || die 'cannot build a plugin'
for how in deepbind dlmopen; do
	rm -rf "$tmp/local/"*
	on rm -rf "$prefix"/{d,f,s,map,copy,plugin,wide}
	"$tmp/host" "$how" "$tmp/plugin.so" "$tmp/local" >"$tmp/want"
	full "$tmp/host" "$how" "$tmp/plugin.so" "$prefix" >"$tmp/got"
	diff "$tmp/want" "$tmp/got" || die "$how"
	say "ok: $how"
	on "$tmp/host" "$how" "$tmp/plugin.so" "$prefix" 2>&1 | grep -q 'open failed' || die "$how is served without being asked for"
done
if [ -x /usr/bin/python3 ]; then
	cat >"$tmp/handle.py" <<'PY'
import ctypes, sys
c = ctypes.CDLL('libc.so.6', use_errno=True)
path = (sys.argv[1] + '/by-handle').encode()
fd = c.open(path, 0o102, 0o644)
print(fd >= 0, c.write(fd, b'abc', 3), c.lseek(fd, 1, 0))
b = ctypes.create_string_buffer(9)
print(c.read(fd, b, 8), b.value, c.access(path, 0), c.close(fd), c.unlink(path), c.access(path, 0))
PY
	equal 'ctypes' "$(/usr/bin/python3 "$tmp/handle.py" "$tmp/local")" "$(full /usr/bin/python3 "$tmp/handle.py" "$prefix")"
	# And that is a leak, where leaks are looked for.
	rm -f "$tmp/leaks"
	checked /usr/bin/python3 "$tmp/handle.py" "$prefix" >/dev/null
	equal 'a leak is the status' 86 $?
	grep -q "leak: process [0-9]*: openat of $prefix/by-handle in libc.so.6+0x[0-9a-f]*, called from " "$tmp/leaks" ||
		{ cat "$tmp/leaks"; die 'the leak is not named'; }
	FF3FS_INTERCEPT=abort on /usr/bin/python3 "$tmp/handle.py" "$prefix" >/dev/null 2>&1
	equal 'and SIGABRT, if asked for' 134 $?
fi
rm -f "$tmp/leaks"
checked "$calls" inline "$prefix" >/dev/null
grep -q 'leak: .* mkdir of .* in preload-syscalls+0x' "$tmp/leaks" || die 'an inline leak is not seen'
say 'ok: leaks are found'

# Signals, threads and processes.
gcc -D_GNU_SOURCE -O1 -w -o "$tmp/dispatch" "$srcdir/tests/preload_dispatch.c" -lpthread || die 'cannot build preload_dispatch'
check 'signals, threads and processes: the control' timeout "$(slower 60)" "$tmp/dispatch" "$tmp/local"
check 'signals, threads and processes in full mode' env FF3FS_INTERCEPT=full LD_PRELOAD="$shim" \
	timeout "$(slower 60)" "$tmp/dispatch" "$prefix"

# What the other tests run: the same in full mode, and no leak in it.
rm -f "$tmp/leaks"
for test in e2e-preload-calls e2e-preload-python e2e-preload-syscalls; do
	check "$test in full mode" env FF3FS_INTERCEPT=full bash "$srcdir/tests/$test.sh"
	check "$test looked at for leaks" env FF3FS_INTERCEPT=check FF3FS_LOG="$tmp/leaks" bash "$srcdir/tests/$test.sh"
done
if [ "${SCALE:-}" = full ]; then
	check 'e2e-preload-tools in full mode' env FF3FS_INTERCEPT=full bash "$srcdir/tests/e2e-preload-tools.sh"
fi
check 'e2e-preload-tools looked at for leaks' env FF3FS_INTERCEPT=check FF3FS_LOG="$tmp/leaks" bash "$srcdir/tests/e2e-preload-tools.sh"
[ ! -s "$tmp/leaks" ] || { cat "$tmp/leaks"; die 'leaks'; }
say 'ok: no leaks'
