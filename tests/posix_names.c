/* The names that no program calls by its source: the C library's second names of a function, what it makes
 * of a call under _FORTIFY_SOURCE, old entry points, libaio's. Each is looked up where the dynamic linker
 * would find it, and called with what works and with what does not. tests/lint-calls.sh says which
 * names must be here. */
#define _GNU_SOURCE
#include "posix_diff.h"

#ifndef VIA_SYSCALL /* once is enough */
#include <aio.h>
#include <dlfcn.h>
#include <linux/aio_abi.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/resource.h>
#include <wchar.h>

/* The function a program of another time would get; NULL where this machine's libraries lack it. */
static void *named(const char *library, const char *name)
{
	void *there = dlopen(library, RTLD_NOW | RTLD_GLOBAL);

	return there && dlsym(there, name) ? dlsym(RTLD_DEFAULT, name) : NULL;
}

/* FOR_NAMES(f, type, "a", "b") { … f(…) … } */
#define FOR_NAMES(f, type, ...)                                                                    \
	for (const char *const *_n = (const char *const[]){ __VA_ARGS__, NULL }; *_n; _n++)        \
		for (__typeof__(type) f = (__typeof__(type))named("libc.so.6", *_n); f; f = NULL)                           \
			for (int _once = (say("%s", *_n), 1); _once; _once = 0)

typedef int (*open_fn)(const char *, int, ...);
typedef ssize_t (*read_fn)(int, void *, size_t);
typedef ssize_t (*read_chk_fn)(int, void *, size_t, size_t);
typedef ssize_t (*pread_fn)(int, void *, size_t, off_t);
typedef ssize_t (*pread_chk_fn)(int, void *, size_t, off_t, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*vec_fn)(int, const struct iovec *, int, off_t);
typedef ssize_t (*vec2_fn)(int, const struct iovec *, int, off_t, int);

CASE(names_open)
{
	put("f", "text");
	FOR_NAMES(f, open_fn, "__open", "__open64")
	{
		int fd = f(P("f"), O_RDONLY);

		OK(fd);
		R((close)(fd));
		fd = f(P("new"), O_RDWR | O_CREAT | O_EXCL, 0640);
		OK(fd);
		facts_fd(fd);
		R((close)(fd));
		R(f(P("new"), O_RDWR | O_CREAT | O_EXCL, 0640));
		R(f(P("none"), O_RDONLY));
		R(f((char *)1, O_RDONLY));
		R((unlink)(P("new")));
	}
}

static void after(const char *buf, long n)
{
	say("  bytes %.*s", n > 0 ? (int)n : 0, buf);
}

CASE(names_read)
{
	int fd = make("f", "0123456789"), out = (open)(P("f"), O_WRONLY);
	char buf[64] = "";
	struct iovec iov[2] = { { buf, 3 }, { buf + 3, 4 } };

	FOR_NAMES(f, read_fn, "__read")
	{
		after(buf, R(f(fd, buf, 7)));
		after(buf, R(f(fd, buf, 7)));
		R(f(fd, buf, 7));
		R(f(out, buf, 7));
		R(f(9999, buf, 7));
		(lseek)(fd, 0, SEEK_SET);
		R(f(fd, (char *)1, 7));
	}
	FOR_NAMES(f, read_chk_fn, "__read_chk")
	{
		after(buf, R(f(fd, buf, 7, sizeof buf)));
		R(f(9999, buf, 7, sizeof buf));
		R(f(fd, NULL, 3, sizeof buf));
	}
	FOR_NAMES(f, pread_fn, "pread64", "__pread64")
	{
		after(buf, R(f(fd, buf, 7, 5)));
		R(f(fd, buf, 7, -1));
		R(f(9999, buf, 7, 0));
		R(f(fd, (char *)1, 7, 0));
	}
	FOR_NAMES(f, pread_chk_fn, "__pread_chk", "__pread64_chk")
	{
		after(buf, R(f(fd, buf, 7, 5, sizeof buf)));
		R(f(9999, buf, 7, 5, sizeof buf));
		R(f(fd, buf, 7, -5, sizeof buf));
	}
	FOR_NAMES(f, vec_fn, "preadv64")
	{
		after(buf, R(f(fd, iov, 2, 2)));
		R(f(fd, iov, 1025, 0));
		R(f(fd, iov, -1, 0));
		R(f(9999, iov, 2, 0));
	}
	FOR_NAMES(f, vec2_fn, "preadv64v2")
	{
		after(buf, R(f(fd, iov, 2, 2, 0)));
		R(f(fd, iov, 2, 2, 1 << 30));
		R(f(9999, iov, 2, 2, 0));
	}
}

static void overflow(void *f, bool positioned)
{
	int fd = make("f", "0123456789");
	char buf[4];

	signal(SIGABRT, SIG_DFL);
	(dup2)((open)("/dev/null", O_WRONLY), 2);
	if (positioned)
		((pread_chk_fn)f)(fd, buf, 8, 0, sizeof buf);
	else
		((read_chk_fn)f)(fd, buf, 8, sizeof buf);
	say("went on");
}

IN_CHILD(names_read_chk)
{
	overflow(named("libc.so.6", "__read_chk"), false);
}

IN_CHILD(names_pread_chk)
{
	overflow(named("libc.so.6", "__pread_chk"), true);
}

CASE(names_write)
{
	int fd = make("f", "0123456789"), in = (open)(P("f"), O_RDONLY);
	struct iovec iov[2] = { { (void *)"ab", 2 }, { (void *)"cde", 3 } };

	FOR_NAMES(f, write_fn, "__write")
	{
		R(f(fd, "XY", 2));
		R(f(in, "XY", 2));
		R(f(9999, "XY", 2));
		R(f(fd, (char *)1, 2));
	}
	FOR_NAMES(f, pwrite_fn, "pwrite64", "__pwrite64")
	{
		R(f(fd, "pw", 2, 5));
		R(f(fd, "pw", 2, -5));
		R(f(in, "pw", 2, 5));
		R(f(fd, (char *)1, 2, 5));
	}
	FOR_NAMES(f, vec_fn, "pwritev64")
	{
		R(f(fd, iov, 2, 8));
		R(f(fd, iov, 1025, 8));
		R(f(in, iov, 2, 8));
	}
	FOR_NAMES(f, vec2_fn, "pwritev64v2")
	{
		R(f(fd, iov, 2, 11, 0));
		R(f(fd, iov, 2, 11, 1 << 30));
		R(f(9999, iov, 2, 11, 0));
	}
	contents("f");
}

CASE(names_descriptors)
{
	int fd = make("f", "0123456789"), copy;
	struct statfs st;
	char buf[8] = "";

	FOR_NAMES(f, off_t (*)(int, off_t, int), "__lseek", "llseek")
	{
		R(f(fd, 3, SEEK_SET));
		R(f(fd, -1, SEEK_END));
		R(f(fd, -100, SEEK_CUR));
		R(f(9999, 0, SEEK_SET));
	}
	FOR_NAMES(f, int (*)(const char *, struct statfs *), "__statfs")
	{
		R(f(P("f"), &st));
		R(f(P("none"), &st));
		R(f(P("f"), (void *)1));
	}
	FOR_NAMES(f, ssize_t (*)(const char *, char *, size_t, size_t), "__readlink_chk")
	{
		R((symlink)("target", P("link")));
		after(buf, R(f(P("link"), buf, 4, sizeof buf)));
		R(f(P("f"), buf, 4, sizeof buf));
		R(f(P("none"), buf, 4, sizeof buf));
	}
	FOR_NAMES(f, ssize_t (*)(int, const char *, char *, size_t, size_t), "__readlinkat_chk")
	{
		after(buf, R(f(AT_FDCWD, P("link"), buf, 4, sizeof buf)));
		R(f(fd, "link", buf, 4, sizeof buf));
		R(f(9999, "link", buf, 4, sizeof buf));
	}
	FOR_NAMES(f, int (*)(int, int), "__dup2")
	{
		R(f(fd, 700));
		R((read)(700, buf, 2));
		R(f(9999, 700));
		R(f(fd, -1));
	}
	FOR_NAMES(f, int (*)(int, int, ...), "fcntl64", "__fcntl")
	{
		copy = f(fd, F_DUPFD_CLOEXEC, 600);
		say("%s", copy >= 600 ? "a copy" : "none");
		R(f(copy, F_GETFD));
		R(f(fd, F_GETFL) & O_ACCMODE);
		R(f(9999, F_GETFL));
		R(f(fd, F_DUPFD, -1));
		R((close)(copy));
	}
	FOR_NAMES(f, int (*)(int), "__close")
	{
		R(f(fd));
		R(f(fd));
	}
	FOR_NAMES(f, void (*)(int), "closefrom")
	{
		copy = (open)(P("f"), O_RDONLY);
		f(copy);
		R((read)(copy, buf, 1));
		R((read)(700, buf, 1));
	}
}

/* Numbers that no descriptor has. */
CASE(names_wild_numbers)
{
	static const int wild[] = { -1, -2, -1023, -1024, -5000, INT_MIN, INT_MAX, 1 << 28, 1 << 24, -638871552 };
	struct stat st;
	char c;

	(close)(make("f", "")); /* what follows is asked with the prefix in use */
	for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
		int fd = wild[i];

		say("number %zu", i);
		R((close)(fd));
		R((read)(fd, &c, 1));
		R((write)(fd, &c, 1));
		R((lseek)(fd, 0, SEEK_CUR));
		R((fstat)(fd, &st));
		R((dup)(fd));
		R((dup2)(fd, 5));
		R((fcntl)(fd, F_GETFL));
		R((fsync)(fd));
		R((fchmod)(fd, 0600));
		R((ioctl)(fd, FIONREAD, &c));
		R((flock)(fd, LOCK_SH));
		R((ftruncate)(fd, 0));
		R((close_range)((unsigned)fd, (unsigned)fd, 0));
		R((long)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0));
		R((fchdir)(fd));
		R((openat)(fd, fd == AT_FDCWD ? "none" : "f", O_RDONLY));
		R(isatty(fd));
		PTR(fdopen(fd, "r"));
		PTR(fdopendir(fd));
	}
}

static void limited(int r, int fd)
{
	show("limit", r, errno);
	R((write)(fd, "0123456789", 10));
	R((write)(fd, "0123456789", 10));
	R((ftruncate)(fd, 20));
}

IN_CHILD(names_limits)
{
	struct rlimit limit = { 15, 40 };

	signal(SIGXFSZ, SIG_IGN);
	FOR_NAMES(f, int (*)(int, const struct rlimit *), "setrlimit64")
	{
		limited(f(RLIMIT_FSIZE, &limit), make("a", ""));
		R(f(99, &limit));
		R(f(RLIMIT_FSIZE, (void *)1));
	}
	FOR_NAMES(f, int (*)(pid_t, int, const struct rlimit *, struct rlimit *), "prlimit", "prlimit64")
	{
		limit.rlim_cur = 12;
		limited(f(0, RLIMIT_FSIZE, &limit, NULL), make("b", ""));
		R(f(0, RLIMIT_FSIZE, NULL, &limit));
		say("%ld of %ld", (long)limit.rlim_cur, (long)limit.rlim_max);
		R(f(0, 99, NULL, &limit));
		R(f(0x7ffffff, RLIMIT_FSIZE, NULL, &limit));
	}
	contents("a");
	contents("b");
}

CASE(names_moving)
{
	int in = make("f", "0123456789"), out = make("g", "");
	off_t at = 3;
	char *p;

	FOR_NAMES(f, ssize_t (*)(int, int, off_t *, size_t), "sendfile64")
	{
		R(f(out, in, &at, 4));
		say("at %ld", (long)at);
		R(f(out, in, NULL, 4));
		R(f(out, 9999, NULL, 4));
		R(f(out, in, (void *)1, 4));
		contents("g");
	}
	FOR_NAMES(f, void *(*)(void *, size_t, int, int, int, off_t), "mmap64")
	{
		p = f(NULL, 4096, PROT_READ, MAP_PRIVATE, in, 0);
		say("%.10s", p == MAP_FAILED ? "failed" : p);
		R((long)f(NULL, 0, PROT_READ, MAP_PRIVATE, in, 0));
		R((long)f(NULL, 4096, PROT_READ, MAP_PRIVATE, in, 5));
		R((long)f(NULL, 4096, PROT_READ, MAP_PRIVATE, 9999, 0));
		(munmap)(p, 4096);
	}
}

/* Refused on our files, which a local one serves: what is promised is either. */
CASE(names_refused)
{
	int fd = make("f", "");
	char *p;

	R((ftruncate)(fd, 8192));
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	FOR_NAMES(f, int (*)(void *, size_t, int, size_t, int), "remap_file_pages")
	{
		int r = f(p, 4096, 0, 1, 0);

		say("%s", r == 0 || errno == EINVAL ? "as described" : strerrorname_np(errno));
		R(f(NULL, 4096, 0, 0, 0));
	}
	(munmap)(p, 8192);
}

#define SCANNED(r) say("%s", (r) == 1 && got == 42 ? "as described" : (r) == -1 && errno == EOPNOTSUPP ? "as described" : "wrong")

static int scan_list(int (*f)(FILE *, const wchar_t *, va_list), FILE *file, ...)
{
	va_list ap;
	int r;

	va_start(ap, file);
	r = f(file, L"%d", ap);
	va_end(ap);
	return r;
}

static int scan_stdin(int (*f)(const wchar_t *, va_list), const wchar_t *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = f(format, ap);
	va_end(ap);
	return r;
}

CASE(names_wide)
{
	int got = 0, r;
	FILE *file;

	put("f", "42 next\n");
	FOR_NAMES(f, wint_t (*)(FILE *), "fgetwc_unlocked")
	{
		file = fopen(P("f"), "r");
		R(f(file));
		R(f(file));
		fclose(file);
		file = fopen(P("f"), "w");
		R((int)f(file));
		fclose(file);
		put("f", "42 next\n");
	}
	FOR_NAMES(f, int (*)(FILE *, const wchar_t *, va_list), "vfwscanf", "__isoc99_vfwscanf",
		  "__isoc23_vfwscanf")
	{
		file = fopen(P("f"), "r");
		r = scan_list(f, file, &got);
		SCANNED(r);
		fclose(file);
	}
	FOR_NAMES(f, int (*)(FILE *, const wchar_t *, ...), "fwscanf", "__isoc99_fwscanf", "__isoc23_fwscanf")
	{
		file = fopen(P("f"), "r");
		r = f(file, L"%d", &got);
		SCANNED(r);
		fclose(file);
	}
	FOR_NAMES(f, int (*)(const wchar_t *, ...), "wscanf", "__isoc99_wscanf", "__isoc23_wscanf")
	{
		freopen(P("f"), "r", stdin);
		r = f(L"%d", &got);
		SCANNED(r);
	}
	FOR_NAMES(f, int (*)(const wchar_t *, va_list), "vwscanf", "__isoc99_vwscanf", "__isoc23_vwscanf")
	{
		freopen(P("f"), "r", stdin);
		r = scan_stdin(f, L"%d", &got);
		SCANNED(r);
	}
}

static void aio_end(int started, struct aiocb *cb)
{
	const struct aiocb *list[1] = { cb };

	show("started", started, errno);
	while (started == 0 && aio_error(cb) == EINPROGRESS)
		aio_suspend(list, 1, NULL);
	if (started == 0)
		say("error %d, value %ld", aio_error(cb), (long)aio_return(cb));
}

CASE(names_posix_aio)
{
	char buf[16] = "";
	int fd = make("f", "0123456789");
	struct aiocb cb = { .aio_fildes = fd, .aio_buf = buf, .aio_nbytes = 6, .aio_offset = 2 };
	struct aiocb bad = { .aio_fildes = 9999, .aio_buf = buf, .aio_nbytes = 6 }, *list[1] = { &cb };

	cb.aio_sigevent.sigev_notify = bad.aio_sigevent.sigev_notify = SIGEV_NONE;
	FOR_NAMES(f, int (*)(struct aiocb *), "aio_read64", "aio_write64")
	{
		aio_end(f(&cb), &cb);
		aio_end(f(&bad), &bad);
		say("%s", buf);
	}
	FOR_NAMES(f, int (*)(int, struct aiocb *), "aio_fsync64")
	{
		aio_end(f(O_SYNC, &cb), &cb);
		R(f(0, &cb));
		R(f(O_SYNC, &bad));
	}
	FOR_NAMES(f, int (*)(int, struct aiocb *), "aio_cancel64")
	{
		R(f(fd, NULL));
		R(f(9999, NULL));
	}
	FOR_NAMES(f, int (*)(int, struct aiocb *const *, int, struct sigevent *), "lio_listio64")
	{
		cb.aio_lio_opcode = LIO_READ;
		R(f(LIO_WAIT, list, 1, NULL));
		say("%ld", (long)aio_return(&cb));
		R(f(77, list, 1, NULL));
	}
	FOR_NAMES(f, int (*)(const struct aiocb *const *, int, const struct timespec *), "aio_suspend64")
	{
		R(f((const struct aiocb *const *)list, 1, NULL));
		R(f((const struct aiocb *const *)list, -1, NULL));
	}
	contents("f");
}

/* libaio's functions: negative errors, errno left alone. */
#define LIBAIO(name, type) __typeof__(type) name = (__typeof__(type))named("libaio.so.1", #name)

CASE(names_libaio)
{
	LIBAIO(io_setup, int (*)(int, aio_context_t *));
	LIBAIO(io_destroy, int (*)(aio_context_t));
	LIBAIO(io_submit, int (*)(aio_context_t, long, struct iocb **));
	LIBAIO(io_getevents, int (*)(aio_context_t, long, long, struct io_event *, struct timespec *));
	LIBAIO(io_pgetevents,
	       int (*)(aio_context_t, long, long, struct io_event *, struct timespec *, sigset_t *));
	LIBAIO(io_queue_init, int (*)(int, aio_context_t *));
	LIBAIO(io_queue_release, int (*)(aio_context_t));
	LIBAIO(io_queue_run, int (*)(aio_context_t));
	LIBAIO(io_queue_wait, int (*)(aio_context_t, struct timespec *));
	aio_context_t id = 0, second = 0;
	struct io_event events[2];
	struct timespec none = { 0 }, second_long = { 1, 0 };
	char buf[16] = "";
	int fd = make("f", "0123456789");
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd,
			   .aio_buf = (uint64_t)(uintptr_t)buf, .aio_nbytes = 6, .aio_offset = 2 };
	struct iocb bad = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = 9999 };
	struct iocb *list[1] = { &cb }, *bad_list[1] = { &bad };

	if (!io_setup) /* not on this machine */
		return;
	E(io_setup(-1, &id));
	E(io_setup(8, &id));
	E(io_setup(8, &id));
	E(io_submit(id, 1, list));
	E(io_getevents(id, 1, 1, events, NULL));
	say("%ld %s", (long)events[0].res, buf);
	E(io_submit(id, 1, bad_list));
	E(io_submit(id, 1, (struct iocb **)1));
	E(io_submit(id + 8, 1, list));
	E(io_submit(id, 1, list));
	E(io_pgetevents(id, 1, 1, events, &second_long, NULL));
	E(io_getevents(id, 1, 1, events, &none));
	E(io_queue_init(8, &second));
	E(io_queue_wait(second, &none));
	E(io_queue_run(second));
	E(io_queue_release(second));
	E(io_destroy(id));
	E(io_destroy(id));
}
#endif
