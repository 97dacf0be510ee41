#!/bin/bash
# What the shim does where it cannot serve, and what it costs where it need not: programs that it does
# not reach fail, a program that names no prefix loads nothing, and it gets on with other preloaded
# libraries.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd gcc

start_cluster 1
on bash -c "echo content >$prefix/f"

# A static program sees neither the prefix nor an inherited descriptor's bytes.
cat >"$tmp/static.c" <<'C'
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char buf[64] = "";
	ssize_t n = read(0, buf, sizeof buf);
	printf("%zd %s", n, n < 0 ? strerror(errno) : "");
	printf(" %s\n", open(argv[1], O_RDONLY) < 0 ? strerror(errno) : "opened");
	return 0;
}
C
if gcc -static -o "$tmp/static" "$tmp/static.c" 2>/dev/null; then
	equal 'a static program' '-1 Bad file descriptor No such file or directory' \
		"$(on bash -c "$tmp/static $prefix/f <$prefix/f")"
fi
if python=$(command -v /usr/bin/python3); then
	equal 'calls past the shim' 'EBADF EPERM ENOENT' "$(on "$python" -c "
import ctypes, errno, os, sys
c = ctypes.CDLL('libc.so.6', use_errno=True)   # by its handle: not interposed
fd = os.open('$prefix/f', os.O_RDWR); b = ctypes.create_string_buffer(8)
def e(r): return errno.errorcode[ctypes.get_errno()] if r < 0 else str(r)
print(e(c.read(fd, b, 8)), e(c.write(fd, b, 8)), e(c.open(b'$prefix/f', 0)))")"
fi

# Nothing is loaded, opened or written for a program that names no prefix.
if command -v strace >/dev/null; then
	on strace -f -o "$tmp/trace" /bin/true
	grep -q 'libff3fs\.so\.0' "$tmp/trace" && die '/bin/true loaded the client'
	say 'ok: /bin/true does not load the client'
	on strace -f -o "$tmp/trace" cat "$prefix/f" >"$tmp/cat"
	equal 'and cat does' content "$(cat "$tmp/cat")"
	grep -E "^[0-9]+ +(open|openat|stat|newfstatat|access)\(.*\"$prefix" "$tmp/trace" &&
		die 'a path of the prefix reached the kernel'
	say 'ok: no path of the prefix reached the kernel'
fi

# Inert.
for how in FF3FS_DISABLE=1 FF3FS_CLIENT_PREFIX=relative; do
	equal "inert with $how" 'No such file or directory' \
		"$(on env "$how" cat "$prefix/f" 2>&1 | sed 's/.*: //')"
done
equal 'without a configuration' 'No such file or directory' "$(unset FF3FS_CLIENT_PREFIX
	FF3FS_CONF=$tmp/none on cat "$prefix/f" 2>&1 | sed 's/.*: //')"
printf '[client]\n  prefix = /elsewhere:%s ; comment\n' "$prefix" >"$tmp/some.conf"
equal 'prefix of a file' content "$(unset FF3FS_CLIENT_PREFIX
	FF3FS_CONF=$tmp/some.conf on cat "$prefix/f")"
equal 'no client library' 'Input/output error' \
	"$(FF3FS_LIB=$tmp/none FF3FS_LOG=$tmp/log on cat "$prefix/f" 2>&1 | sed 's/.*: //')"
grep -q 'cannot load the client library' "$tmp/log" || die 'FF3FS_LOG does not say why'

# With others, in either order.
cat >"$tmp/other.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>
int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
	return next(path, flags, 0644);
}
ssize_t read(int fd, void *buf, size_t n)
{
	ssize_t (*next)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
	return next(fd, buf, n);
}
C
gcc -shared -fPIC -o "$tmp/other.so" "$tmp/other.c" || die 'cannot build a second library'
others=$tmp/other.so
for name in libjemalloc.so.2 libtcmalloc_minimal.so.4; do
	path=$(ldconfig -p 2>/dev/null | sed -n "s,.*$name .*=> ,,p" | head -1)
	[ -n "$path" ] && others="$others $path"
done
[ -n "${SANITIZE_FLAGS:-}" ] && others=
for other in $others; do
	for preload in "$shim:$other" "$other:$shim"; do
		equal "${preload//"$builddir"/} " 'content 8' "$(LD_PRELOAD=$preload bash -c \
			"x=\$(cat $prefix/f); cp $prefix/f $prefix/g; sort $prefix/g >/dev/null; echo \$x \$(wc -c <$prefix/g)" 2>&1)"
	done
done
if command -v valgrind >/dev/null && [ -z "${SANITIZE_FLAGS:-}" ]; then
	on valgrind -q --error-exitcode=9 cat "$prefix/f" >"$tmp/out" 2>"$tmp/err" ||
		{ cat "$tmp/err"; die valgrind; }
	equal 'valgrind' content "$(cat "$tmp/out")"
fi

# The cost of a process that does not need us: the best of a hundred rounds of 25, in turns.
cat >"$tmp/spawn.c" <<'C'
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
static double us(char **env)
{
	struct timespec a, b;
	char *argv[] = { "true", NULL };
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 25; i++) {
		pid_t pid;
		if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env))
			exit(1);
		waitpid(pid, NULL, 0);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	return ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / 25e3;
}
int main(int argc, char **argv)
{
	char *with[] = { argv[1], argv[2], NULL }, *without[] = { argv[2], NULL };
	double best[2] = { 1e9, 1e9 };
	for (int i = 0; i < 100; i++) {
		double t = us(without), u = us(with);
		best[0] = t < best[0] ? t : best[0];
		best[1] = u < best[1] ? u : best[1];
	}
	printf("%.0f\n", best[1] - best[0]);
	fprintf(stderr, "/bin/true: %.0f us, with the shim %.0f us\n", best[0], best[1]);
	return 0;
}
C
if [ -z "${SANITIZE_FLAGS:-}" ]; then
	gcc -O2 -w -o "$tmp/spawn" "$tmp/spawn.c" || die 'cannot build spawn'
	more=$("$tmp/spawn" "LD_PRELOAD=$shim" "FF3FS_PREFIX=$prefix")
	[ "$more" -le 150 ] || die "a process costs $more us more"
	say "ok: a process costs $more us more"
fi
