/* System calls that the other files make by their names only, by their numbers: sockets, asynchronous I/O,
 * mappings, limits; and what is newer than most C libraries. What the prefix may refuse with
 * EOPNOTSUPP where a local file system serves it is "as described" either way. */
#define _GNU_SOURCE
#include "../preload/new_calls.h"
#include "posix_diff.h"

#ifdef VIA_SYSCALL
#include <linux/aio_abi.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

CASE(numbers_sockets)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX }, b = a, got;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	int one = socket(AF_UNIX, SOCK_DGRAM, 0), two = socket(AF_UNIX, SOCK_DGRAM, 0);
	struct iovec iov = { (void *)"message", 7 };
	struct msghdr message = { &b, sizeof b, &iov, 1 };
	socklen_t len = sizeof got;
	char buf[16] = "";

	if (strlen(P("s")) >= sizeof a.sun_path) {
		say("too long a name");
		return;
	}
	strcpy(a.sun_path, P("s")), strcpy(b.sun_path, P("t"));
	R(syscall(SYS_bind, listener, &a, sizeof a));
	R(syscall(SYS_bind, client, &a, sizeof a));
	R(syscall(SYS_bind, client, (void *)1, sizeof a));
	R(listen(listener, 2));
	R(syscall(SYS_connect, client, &a, sizeof a));
	R(syscall(SYS_connect, 9999, &a, sizeof a));
	R(syscall(SYS_connect, client, (void *)1, sizeof a));
	OK(syscall(SYS_accept, listener, NULL, NULL));
	R(syscall(SYS_accept4, listener, NULL, NULL, 77));
	R(syscall(SYS_getpeername, client, &got, &len));
	say("%s", strcmp(got.sun_path, a.sun_path) ? "another" : "the same");
	len = sizeof got;
	R(syscall(SYS_getsockname, listener, &got, &len));
	say("%s", strcmp(got.sun_path, a.sun_path) ? "another" : "the same");
	R(syscall(SYS_getsockname, listener, (void *)1, &len));
	R(syscall(SYS_bind, two, &b, sizeof b));
	R(syscall(SYS_sendto, one, "datagram", 8, 0, &b, sizeof b));
	R(syscall(SYS_sendto, one, (void *)1, 8, 0, &b, sizeof b));
	R(syscall(SYS_recvfrom, two, buf, sizeof buf, 0, NULL, NULL));
	say("%s", buf);
	R(syscall(SYS_sendmsg, one, &message, 0));
	R(syscall(SYS_sendmsg, one, (void *)1, 0));
	R(syscall(SYS_recvmsg, two, &message, MSG_DONTWAIT) >= -1);
	R(syscall(SYS_recvmsg, two, (void *)1, 0));
}

CASE(numbers_aio)
{
	aio_context_t id = 0;
	struct io_event events[2];
	struct timespec none = { 0 };
	char buf[16] = "";
	int fd = make("f", "0123456789");
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd,
			   .aio_buf = (uint64_t)(uintptr_t)buf, .aio_nbytes = 6, .aio_offset = 2 };
	struct iocb *list[1] = { &cb };

	R(syscall(SYS_io_setup, 0, &id));
	R(syscall(SYS_io_setup, 8, (void *)1));
	R(syscall(SYS_io_setup, 8, &id));
	R(syscall(SYS_io_submit, id, 1l, list));
	R(syscall(SYS_io_getevents, id, 1l, 2l, events, NULL));
	say("%ld %s", (long)events[0].res, buf);
	R(syscall(SYS_io_submit, id, -1l, list));
	R(syscall(SYS_io_submit, id, 1l, (void *)1));
	R(syscall(SYS_io_submit, 77l, 1l, list));
	R(syscall(SYS_io_submit, id, 1l, list));
	R(syscall(SYS_io_pgetevents, id, 1l, 1l, events, NULL, NULL));
	R(syscall(SYS_io_getevents, id, 0l, 1l, events, &none));
	R(syscall(SYS_io_getevents, id, 3l, 1l, events, &none));
	R(syscall(SYS_io_getevents, 77l, 1l, 1l, events, &none));
	R(syscall(SYS_io_destroy, id));
	R(syscall(SYS_io_destroy, id));
}

/* Buffered requests have ended when io_submit returns, in the kernel: who does not wait finds them. */
CASE(numbers_aio_no_wait)
{
	static char bytes[8][4096];
	aio_context_t id = 0;
	struct io_event events[8];
	struct timespec none = { 0 };
	struct iocb cb[8] = { 0 }, *list[8];
	int fd = make("f", "");

	R(syscall(SYS_io_setup, 8, &id));
	for (int round = 0; round < 20; round++) {
		long n;

		for (int i = 0; i < 8; i++) {
			memset(bytes[i], 'a' + (round + i) % 26, sizeof bytes[i]);
			cb[i] = (struct iocb){ .aio_lio_opcode = round % 2 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
					       .aio_fildes = (uint32_t)fd,
					       .aio_buf = (uint64_t)(uintptr_t)bytes[i],
					       .aio_nbytes = sizeof bytes[i],
					       .aio_offset = (round / 2 * 8 + i) * 4096 };
			list[i] = &cb[i];
		}
		R(syscall(SYS_io_submit, id, 8l, list));
		n = R(syscall(SYS_io_getevents, id, 0l, 8l, events, round % 4 < 2 ? &none : NULL));
		for (long i = 0; i < n; i++)
			if (events[i].res != 4096)
				say("  %ld", (long)events[i].res);
	}
	R(syscall(SYS_io_getevents, id, 0l, 8l, events, &none));
	R(syscall(SYS_io_destroy, id));
	contents("f");
}

CASE(numbers_mappings)
{
	int fd = make("f", "0123456789"), r;
	char *p, *q;

	R((ftruncate)(fd, 3 * 4096));
	p = (mmap)(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	R(syscall(SYS_madvise, p, 4096, MADV_WILLNEED));
	R(syscall(SYS_madvise, p, 4096, 9999));
	R(syscall(SYS_madvise, p + 1, 4096, MADV_NORMAL));
	q = (char *)syscall(SYS_mremap, p, 2 * 4096, 3 * 4096, MREMAP_MAYMOVE);
	say("%.10s", q == MAP_FAILED ? "failed" : q);
	R(syscall(SYS_mremap, q + 1, 4096, 4096, 0));
	R(syscall(SYS_mremap, q, 4096, 0, 0));
	r = (int)syscall(SYS_remap_file_pages, q, 4096, 0, 1, 0);
	say("%s", r == 0 || errno == EINVAL ? "as described" : strerrorname_np(errno));
	R((munmap)(q, 3 * 4096));
	syscall(SYS_sync);
	say("%s", "synced");
}

IN_CHILD(numbers_limits)
{
	struct rlimit limit = { 15, 40 }, old;
	int fd = make("f", "");

	signal(SIGXFSZ, SIG_IGN);
	R(syscall(SYS_setrlimit, RLIMIT_FSIZE, &limit));
	R(syscall(SYS_setrlimit, RLIMIT_FSIZE, (void *)1));
	R(write(fd, "0123456789", 10));
	R(write(fd, "0123456789", 10));
	R(write(fd, "0123456789", 10));
	limit.rlim_cur = 20;
	R(syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, &limit, &old));
	say("%ld", (long)old.rlim_cur);
	R(syscall(SYS_prlimit64, 0, 77, NULL, &old));
	R(write(fd, "0123456789", 10));
	contents("f");
}

struct value {
	uint64_t value;
	uint32_t size, flags;
};

CASE(numbers_xattrat)
{
	int dir = (open)(P(""), O_RDONLY | O_DIRECTORY), fd = make("f", "");
	char buf[64] = "";
	struct value v = { (uintptr_t)"text", 4, 0 }, get = { (uintptr_t)buf, sizeof buf, 0 };
	struct value only_new = { (uintptr_t)"text", 4, XATTR_CREATE };

	if (syscall(SYS_listxattrat, AT_FDCWD, "/", 0, buf, 0l) < 0 && errno == ENOSYS)
		return; /* an older kernel */
	(symlink)("f", P("link"));
	R(syscall(SYS_setxattrat, dir, "f", 0, "user.a", &v, sizeof v));
	R(syscall(SYS_setxattrat, dir, "link", 0, "user.b", &v, sizeof v));
	R(syscall(SYS_setxattrat, dir, "link", AT_SYMLINK_NOFOLLOW, "user.b", &v, sizeof v));
	R(syscall(SYS_setxattrat, fd, "", AT_EMPTY_PATH, "user.c", &v, sizeof v));
	R(syscall(SYS_setxattrat, fd, "", 0, "user.c", &v, sizeof v));
	R(syscall(SYS_setxattrat, dir, "f", 0, "user.a", &only_new, sizeof v));
	R(syscall(SYS_setxattrat, dir, "f", 0, "user.a", &v, 8));
	R(syscall(SYS_setxattrat, dir, "f", 0, "user.a", (void *)1, sizeof v));
	R(syscall(SYS_setxattrat, dir, "f", 1, "user.a", &v, sizeof v));
	R(syscall(SYS_setxattrat, 9999, "f", 0, "user.a", &v, sizeof v));
	R(syscall(SYS_getxattrat, AT_FDCWD, P("f"), 0, "user.a", &get, sizeof get));
	say("%s", buf);
	R(syscall(SYS_getxattrat, dir, "none", 0, "user.a", &get, sizeof get));
	R(syscall(SYS_getxattrat, dir, "f", 0, "user.none", &get, sizeof get));
	R(syscall(SYS_getxattrat, fd, "", AT_EMPTY_PATH, "user.c", &get, sizeof get));
	get.flags = 1;
	R(syscall(SYS_getxattrat, dir, "f", 0, "user.a", &get, sizeof get));
	R(syscall(SYS_listxattrat, dir, "f", 0, buf, sizeof buf) > 0);
	R(syscall(SYS_listxattrat, dir, "f", 0, (void *)1, sizeof buf));
	R(syscall(SYS_removexattrat, dir, "f", 0, "user.a"));
	R(syscall(SYS_removexattrat, dir, "f", 0, "user.a"));
	R(syscall(SYS_removexattrat, dir, "link", AT_SYMLINK_NOFOLLOW, "user.a"));
}

CASE(numbers_fchmodat2)
{
	int dir = (open)(P(""), O_RDONLY | O_DIRECTORY), fd = make("f", "");

	if (syscall(SYS_fchmodat2, AT_FDCWD, "/none/x", 0600, 0) < 0 && errno == ENOSYS)
		return; /* before Linux 6.6 */
	(symlink)("f", P("link"));
	R(syscall(SYS_fchmodat2, AT_FDCWD, P("f"), 0600, 0));
	facts("f");
	R(syscall(SYS_fchmodat2, dir, "link", 0640, 0));
	facts("f");
	R(syscall(SYS_fchmodat2, dir, "f", 0604, AT_SYMLINK_NOFOLLOW));
	facts("f");
	R(syscall(SYS_fchmodat2, dir, "link", 0600, AT_SYMLINK_NOFOLLOW));
	R(syscall(SYS_fchmodat2, fd, "", 0711, AT_EMPTY_PATH));
	facts("f");
	R(syscall(SYS_fchmodat2, fd, "", 0711, 0));
	R(syscall(SYS_fchmodat2, dir, "none", 0600, 0));
	R(syscall(SYS_fchmodat2, dir, "f", 0600, 1));
	R(syscall(SYS_fchmodat2, 9999, "f", 0600, 0));
	R(syscall(SYS_fchmodat2, dir, (void *)1, 0600, 0));
}

static void described(const char *what, long r)
{
	say("%s %s", what,
	    r >= 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == ENOTTY || errno == EOVERFLOW ?
		    "as described" :
		    strerrorname_np(errno));
}

CASE(numbers_refused)
{
	int fd = make("f", "text"), mount;
	uint64_t range[2] = { 0, 4096 }, stats[8];
	char attributes[64] = "";
	struct {
		unsigned bytes;
		int type;
		char handle[128];
	} handle = { 0 };

	described("cachestat", syscall(SYS_cachestat, fd, range, stats, 0));
	described("file_getattr", syscall(SYS_file_getattr, AT_FDCWD, P("f"), attributes, 24l, 0));
	described("file_setattr", syscall(SYS_file_setattr, AT_FDCWD, P("f"), attributes, 24l, 0));
	described("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, P("f"), &handle, &mount, 0));
}
#endif
