#!/bin/bash
# What the shim does where it cannot serve, or need not: programs that it does
# not reach fail, and a program that names no prefix loads nothing.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
requires ff3fs-metad ff3fs-chunkd gcc

start_cluster 1
on bash -c "echo content >$prefix/f"

# A static program sees neither the prefix nor an inherited descriptor's bytes, whatever it tries.
cat >"$tmp/static.c" <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#define SAY(e) do { errno = 0; long _r = (long)(e); printf("%s: %s\n", #e, _r == -1 ? strerrorname_np(errno) : "DONE"); } while (0)
static int ring_read(void)
{
	static char b[64];
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	int r = io_uring_queue_init(2, &ring, 0);
	if (r < 0)
		return errno = EBADF, -1; /* no rings on this machine */
	io_uring_prep_read(io_uring_get_sqe(&ring), 0, b, sizeof b, 0);
	if (io_uring_submit_and_wait(&ring, 1) < 0 || io_uring_peek_cqe(&ring, &cqe) < 0)
		return 0;
	return cqe->res < 0 ? (errno = -cqe->res, -1) : cqe->res;
}
int main(int argc, char **argv)
{
	char b[64];
	int p[2], out = open("/dev/null", O_WRONLY);
	pipe(p);
	SAY(read(0, b, 64));
	SAY(pread(0, b, 64, 0));
	SAY(write(0, "x", 1));
	SAY(sendfile(out, 0, NULL, 64));
	SAY(splice(0, NULL, p[1], NULL, 64, 0));
	SAY(copy_file_range(0, NULL, out, NULL, 64, 0));
	SAY((long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 0, 0));
	SAY(ring_read());
	SAY(open(argv[1], O_RDONLY));
	return 0;
}
C
if gcc -w -static -o "$tmp/static" "$tmp/static.c" -luring 2>"$tmp/gcc.err"; then
	equal 'a static program' 'EBADF EBADF EPERM EBADF EBADF EINVAL EACCES EBADF ENOENT' \
		"$(on bash -c "$tmp/static $prefix/f <>$prefix/f" | sed 's/.*: //' | tr '\n' ' ' | sed 's/ $//')"
else
	say "not run: a static program: $(head -n 1 "$tmp/gcc.err")"
fi
# Another libc loads the library, which then does nothing: it lacks what the library is made of.
echo 'int main(void) { puts("of musl"); FILE *f = fopen("/etc/passwd", "r"); puts(f ? "read" : "not"); puts(open(getenv("F"), 0) < 0 ? "none" : "opened"); puts(read(0, &f, 1) < 0 ? "closed" : "bytes"); return 0; }' |
	sed '1i #include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>' >"$tmp/musl.c"
if command -v musl-gcc >/dev/null && musl-gcc -w -o "$tmp/musl" "$tmp/musl.c"; then
	equal 'a program of musl' 'of musl read none closed' \
		"$(F=$prefix/f on bash -c "$tmp/musl <$prefix/f" 2>&1 | tr '\n' ' ' | sed 's/ $//')"
else
	say 'not run: no musl-gcc on this machine'
fi
# A setuid program, started by somebody else: the linker drops the library.
mkdir "$tmp/lib"
cp -L "$shim" "$(find_built libff3fs.so.0 || echo "$library")" "$tmp/lib/"
! module=$(find_built libff3fs_verbs.so) || cp "$module" "$tmp/lib/"
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$tmp" "$tmp/lib"
	cp /bin/cat "$tmp/lib/setuid-cat"
	chmod 4755 "$tmp/lib/setuid-cat"
	other() { LD_PRELOAD=$tmp/lib/${shim##*/} setpriv --reuid=65534 --regid=65534 --clear-groups "$@" 2>&1 | sed 's/.*: //'; }
	equal 'another user' content "$(other cat "$prefix/f")"
	equal 'a setuid program' 'No such file or directory' "$(other "$tmp/lib/setuid-cat" "$prefix/f")"
	equal 'its input' 'Bad file descriptor' "$(other sh -c "exec $tmp/lib/setuid-cat <$prefix/f")"
else
	say 'not run: a setuid program: needs root'
fi

# One from before glibc 2.33 calls __xstat.
cat >"$tmp/xstat.c" <<'C'
#include <stdio.h>
#include <sys/stat.h>
__asm__(".symver __xstat, __xstat@GLIBC_2.2.5");
__asm__(".symver __lxstat64, __lxstat64@GLIBC_2.2.5");
__asm__(".symver __fxstat, __fxstat@GLIBC_2.2.5");
int __xstat(int, const char *, struct stat *), __lxstat64(int, const char *, struct stat *), __fxstat(int, int, struct stat *);
int main(int argc, char **argv)
{
	struct stat a, b, c;
	int r = __xstat(1, argv[1], &a) | __lxstat64(1, argv[1], &b) | __fxstat(1, 0, &c);
	printf("%d %ld %ld %ld %d\n", r, (long)a.st_size, (long)b.st_size, (long)c.st_size, a.st_ino == b.st_ino && a.st_ino == c.st_ino);
	return __xstat(9, argv[1], &a) == 0;
}
C
if [ "$(uname -m)" = x86_64 ]; then
	gcc -w -o "$tmp/xstat" "$tmp/xstat.c" || die 'cannot build a program of old'
	equal 'an old program' '0 8 8 8 1' "$(on bash -c "$tmp/xstat $prefix/f <$prefix/f")"
fi

# A shared object and scripts that lie below the prefix.
echo 'int answer(void) { return 42; }' >"$tmp/so.c"
gcc -shared -fPIC -o "$tmp/answer.so" "$tmp/so.c" || die 'cannot build a shared object'
printf '%s\n' '#include <dlfcn.h>' '#include <stdio.h>' 'int main(int c, char **v) { void *h = dlopen(v[1], RTLD_NOW), *again = dlopen(v[1], RTLD_LAZY); int (*f)(void) = h ? dlsym(h, "answer") : 0; printf("%d %d\n", f ? f() : -1, h == again); return 0; }' >"$tmp/dl.c"
gcc -w -o "$tmp/dl" "$tmp/dl.c" || die 'cannot build the program that loads it'
on bash -c "cp $tmp/answer.so $prefix/; printf '#!/bin/sh\necho sh \$1\n' >$prefix/s1; printf '#!/usr/bin/env bash\necho \"\${BASH_VERSION:+bash} \$1\"\n' >$prefix/s2; chmod +x $prefix/s?"
equal 'dlopen' '42 1' "$(on "$tmp/dl" "$prefix/answer.so")"
equal 'dlopen, by a relative path' '42 1' "$(on bash -c "cd $prefix && $tmp/dl ./answer.so")"
equal 'scripts' 'sh one bash two sh three' "$(on bash -c "$prefix/s1 one; cd $prefix; ./s2 two; exec ./s1 three" | tr '\n' ' ' | sed 's/ $//')"
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
