#!/bin/bash
# Together with what else takes over functions of a process: memory allocators and a second library of hooks,
# each before and after ours, valgrind, programs built with the sanitizers or fortified. One program that does
# a little of everything prints the same everywhere.
. "${srcdir:-$(dirname "$0")/..}/tests/functions.sh"
. "$srcdir/tests/ladder.sh"
requires ff3fs-metad ff3fs-chunkd gcc
[ -z "${SANITIZE_FLAGS:-}" ] || skip 'a sanitizer wants to be first'

start_cluster 1
cat >"$tmp/little.c" <<'C'
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#define SHOW(e) printf("%s: %ld\n", #e, (long)(e))
static int count;
static void *reader(void *arg)
{
	for (int i = 0; i < 50; i++) {
		char *b = malloc(1000 + i);
		int fd = open("data", O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && pread(fd, b, 1000, i) == 1000 && b[0] == 'a' + i % 26)
			__atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
		close(fd);
		free(b);
	}
	return NULL;
}
int main(int argc, char **argv)
{
	pthread_t t[8];
	struct stat st;
	char *b = malloc(26000), *m, line[80];
	int fd, status, n = 0;
	DIR *d;
	FILE *f;
	SHOW(chdir(argv[1]));
	if (argc > 2) { /* what a checker must notice: more is read than there is room for */
		char *small = malloc(10);
		fd = open("data", O_RDONLY);
		SHOW(read(fd, small, argc > 3 ? 20 : 10));
		return 0;
	}
	for (int i = 0; i < 26000; i++)
		b[i] = 'a' + i % 26;
	SHOW(mkdir("dir", 0755));
	fd = open("data", O_RDWR | O_CREAT | O_TRUNC, 0644);
	SHOW(write(fd, b, 26000));
	SHOW(lseek(fd, 100, SEEK_SET));
	SHOW(read(fd, line, 10));
	printf("%.10s\n", line);
	m = mmap(NULL, 26000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	SHOW(memcmp(m, b, 26000));
	memcpy(m + 5000, "mapped", 6);
	SHOW(msync(m, 26000, MS_SYNC));
	SHOW(pread(fd, line, 6, 5000));
	printf("%.6s\n", line);
	memcpy(m + 5000, b + 5000, 6);
	SHOW(munmap(m, 26000));
	SHOW(fcntl(dup(fd), F_GETFL) & O_ACCMODE);
	SHOW(fstat(fd, &st) == 0 && st.st_size == 26000);
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	SHOW(count);
	fflush(stdout);
	if (fork() == 0) {
		reader(NULL);
		_exit(count == 450 ? 0 : 1);
	}
	wait(&status);
	SHOW(status);
	f = fopen("dir/text", "w");
	for (int i = 0; i < 5000; i++)
		fprintf(f, "line %d\n", i);
	SHOW(fclose(f));
	f = fopen("dir/text", "r");
	while (fgets(line, sizeof line, f))
		n++;
	SHOW(n);
	fclose(f);
	SHOW(rename("dir/text", "dir/other"));
	n = 0;
	for (d = opendir("dir"); readdir(d);)
		n++;
	SHOW(n);
	closedir(d);
	SHOW(open("none", O_RDONLY) < 0 && errno == ENOENT);
	SHOW(system("wc -c <data; cat dir/other | tail -n 1"));
	SHOW(unlink("dir/other"));
	SHOW(rmdir("dir"));
	SHOW(close(fd));
	free(b);
	return 0;
}
C
gcc -O1 -g -w -o "$tmp/little" "$tmp/little.c" -lpthread || die 'cannot build the program'
"$tmp/little" "$tmp/local" >"$tmp/want" || die 'the local run'

# like_locally WHAT PRELOAD COMMAND…: $prefix is added to the command.
like_locally() {
	LD_PRELOAD=$2 timeout -k 5 100 "${@:3}" "$prefix" >"$tmp/got" 2>"$tmp/err" || { cat "$tmp/err"; die "$1: exit $?"; }
	diff "$tmp/want" "$tmp/got" || { cat "$tmp/err"; die "$1: prints something else"; }
	[ ! -s "$tmp/err" ] || { cat "$tmp/err"; die "$1: complains"; }
	say "ok: $1"
}
like_locally 'alone' "$shim" "$tmp/little"

# One that keeps a table of descriptors of its own, has one open all the time, and asks for what is behind it
# the moment it is needed.
cat >"$tmp/other.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <unistd.h>
#define NEXT(ret, name, ...) static ret (*next)(__VA_ARGS__); if (!next) next = dlsym(RTLD_NEXT, #name)
static int opened[1024], own = -1;
static long calls;
static int note(int fd) { calls++; if (fd >= 0 && fd < 1024) opened[fd]++; return fd; }
int open(const char *path, int flags, ...)
{
	NEXT(int, open, const char *, int, ...);
	va_list ap;
	va_start(ap, flags);
	int mode = va_arg(ap, int);
	va_end(ap);
	return note(next(path, flags, mode));
}
int open64(const char *path, int flags, ...)
{
	NEXT(int, open64, const char *, int, ...);
	va_list ap;
	va_start(ap, flags);
	int mode = va_arg(ap, int);
	va_end(ap);
	return note(next(path, flags, mode));
}
ssize_t read(int fd, void *buf, size_t n)
{
	NEXT(ssize_t, read, int, void *, size_t);
	calls++;
	return next(fd, buf, n);
}
ssize_t write(int fd, const void *buf, size_t n)
{
	NEXT(ssize_t, write, int, const void *, size_t);
	calls++;
	return next(fd, buf, n);
}
int close(int fd)
{
	NEXT(int, close, int);
	if (fd == own) /* not the application's */
		return 0;
	if (fd >= 0 && fd < 1024)
		opened[fd] = 0;
	return next(fd);
}
__attribute__((constructor)) static void begin(void) { own = open("/dev/null", O_RDONLY | O_CLOEXEC, 0); }
C
gcc -shared -fPIC -w -o "$tmp/other.so" "$tmp/other.c" -ldl || die 'cannot build a second library'

library() { ldconfig -p 2>/dev/null | sed -n "s,.*[[:space:]]$1 .*=> ,,p" | head -n 1; }
for name in second libjemalloc.so.2 libtcmalloc_minimal.so.4 libtcmalloc.so.4; do
	if [ $name = second ]; then other=$tmp/other.so; else other=$(library $name); fi
	[ -n "$other" ] || { say "not run: no $name on this machine"; continue; }
	like_locally "$name after ours" "$shim:$other" "$tmp/little"
	like_locally "$name before ours" "$other:$shim" "$tmp/little"
	for preload in "$shim:$other" "$other:$shim"; do
		equal 'and a shell' '8 content' "$(LD_PRELOAD=$preload bash -c "cd $prefix; echo content >f; { read x; cat; } <f; cp f g; exec 7<g; sort <&7 >h; cat <h | wc -c; echo \$x" 2>&1 | tr '\n' ' ' | sed 's/ $//')"
	done
done

# It does not see what a device writes into memory.
if [ "${TRANSPORT:-}" != verbs ] && command -v valgrind >/dev/null; then
	like_locally 'valgrind' "$shim" valgrind -q --error-exitcode=9 "$tmp/little"
	on valgrind -q --error-exitcode=9 "$tmp/little" "$prefix" too much >"$tmp/got" 2>&1
	equal 'valgrind sees the overrun of a buffer' 9 $?
	on valgrind -q --error-exitcode=9 "$tmp/little" "$prefix" fits >"$tmp/got" 2>&1
	equal 'and only that' 0 $?
fi

# built WHAT FLAGS…: $tmp/san, or false where the compiler has no such runtime.
built() {
	gcc -O1 -g -w "${@:2}" -o "$tmp/san" "$tmp/little.c" -lpthread 2>/dev/null && return
	say "not run: no $1"
	return 1
}
overrun() { # overrun WHAT PRELOAD PATTERN: such a program still notices
	LD_PRELOAD=$2 "$tmp/san" "$prefix" too much >"$tmp/got" 2>&1 && die "$1 did not see the overrun of a buffer"
	grep -q "$3" "$tmp/got" || { cat "$tmp/got"; die "$1: no word of an overrun"; }
	say "ok: $1 sees the overrun of a buffer"
}
# TSan cannot see the atomics of what was built without it, as for any such library.
export ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=die_after_fork=0:ignore_noninstrumented_modules=1
if built ASan -fsanitize=address; then
	asan=$(gcc -print-file-name=libasan.so)
	like_locally 'an ASan program, its runtime first' "$asan:$shim" "$tmp/san"
	overrun 'ASan' "$asan:$shim" heap-buffer-overflow
	ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 like_locally 'an ASan program, ours first' "$shim" "$tmp/san"
fi
if built 'static ASan' -fsanitize=address -static-libasan; then
	like_locally 'an ASan program with the runtime in it' "$shim" "$tmp/san"
	overrun 'static ASan' "$shim" heap-buffer-overflow
fi
if built TSan -fsanitize=thread; then
	like_locally 'a TSan program' "$(gcc -print-file-name=libtsan.so):$shim" "$tmp/san"
fi
if built UBSan -fsanitize=undefined; then like_locally 'a UBSan program' "$shim" "$tmp/san"; fi
if built fortify -O2 -D_FORTIFY_SOURCE=2; then
	like_locally 'a fortified program' "$shim" "$tmp/san"
fi
nothing_local
