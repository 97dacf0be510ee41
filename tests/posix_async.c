/* Linux AIO by its system calls: requests with each field wrong in turn, submissions with some good and some
 * bad, notification, and what every opcode says. */
#define _GNU_SOURCE
#include "posix_diff.h"

#ifdef VIA_SYSCALL
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>

static aio_context_t context;
static char data[8192];

static void begin(void)
{
	context = 0;
	R(syscall(SYS_io_setup, 16, &context));
}

static struct iocb request(int opcode, int fd, void *buf, uint64_t n, int64_t at)
{
	return (struct iocb){ .aio_lio_opcode = (uint16_t)opcode, .aio_fildes = (uint32_t)fd, .aio_nbytes = n,
			      .aio_buf = (uint64_t)(uintptr_t)buf, .aio_offset = at, .aio_data = 4711 };
}

/* What a request comes to, at its submission or later. */
static void submit(const char *what, struct iocb *cb)
{
	struct io_event event = { 0 };
	struct timespec second = { 5, 0 };
	long r = syscall(SYS_io_submit, context, 1l, &cb);

	if (r != 1) {
		say("%s: refused, %s", what, r < 0 ? strerrorname_np(errno) : "none taken");
		return;
	}
	r = syscall(SYS_io_getevents, context, 1l, 1l, &event, &second);
	if (r != 1)
		say("%s: no event", what);
	else if (event.res < 0)
		say("%s: %s", what, strerrorname_np((int)-event.res));
	else
		say("%s: %ld%s", what, (long)event.res,
		    event.data != 4711 || event.obj != (uint64_t)(uintptr_t)cb || event.res2 ? ", of another" : "");
}

#define SUBMIT(...)                                                                                \
	do {                                                                                       \
		struct iocb _cb = request(__VA_ARGS__);                                            \
		submit(#__VA_ARGS__, &_cb);                                                        \
	} while (0)

CASE(async_opcodes)
{
	int fd = make("f", "0123456789"), rd = (open)(P("f"), O_RDONLY), wr = (open)(P("f"), O_WRONLY), p[2];
	int dir = (open)(P(""), O_RDONLY | O_DIRECTORY), path = (open)(P("f"), O_PATH);
	int append = (open)(P("f"), O_WRONLY | O_APPEND);
	struct iovec iov[3] = { { data, 3 }, { NULL, 0 }, { data + 3, 4 } }, wild = { (void *)1, 4 };
	struct iovec nothing = { data, 0 };
	struct iovec far = { data, (size_t)-1 };

	begin();
	for (int opcode = 0; opcode < 11; opcode++)
		for (int n = 0; n < 2; n++) {
			struct iocb cb = request(opcode, fd, n ? data : NULL, n ? 4 : 0, 0);
			char what[32];

			if (opcode == 5) /* a poll, which has fields of its own */
				continue;
			sprintf(what, "opcode %d, %d", opcode, n);
			submit(what, &cb);
		}
	SUBMIT(IOCB_CMD_PREAD, fd, data, 100, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 100, 8);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 100, 10);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 100, 1l << 40);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 100, -1);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 100, INT64_MAX);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 0, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, data, (uint64_t)-1, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, data, 1ull << 63, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, NULL, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, (void *)1, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, (void *)0xffff800000000000ul, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, fd, (void *)1, 4, 100);
	SUBMIT(IOCB_CMD_PREAD, wr, data, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, dir, data, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, path, data, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, 99, data, 4, 0);
	SUBMIT(IOCB_CMD_PREAD, -1, data, 4, 0);
	SUBMIT(IOCB_CMD_PWRITE, fd, "abcd", 4, 20);
	SUBMIT(IOCB_CMD_PWRITE, rd, "abcd", 4, 0);
	SUBMIT(IOCB_CMD_PWRITE, dir, "abcd", 4, 0);
	SUBMIT(IOCB_CMD_PWRITE, append, "abcd", 4, 0);
	SUBMIT(IOCB_CMD_PWRITE, fd, "abcd", 4, -1);
	SUBMIT(IOCB_CMD_PWRITE, fd, (void *)1, 4, 0);
	SUBMIT(IOCB_CMD_PWRITE, fd, "abcd", 0, 100);
	SUBMIT(IOCB_CMD_PWRITEV, fd, &nothing, 1, 200);
	SUBMIT(IOCB_CMD_PREADV, fd, iov, 3, 2);
	SUBMIT(IOCB_CMD_PREADV, fd, iov, 0, 2);
	SUBMIT(IOCB_CMD_PREADV, fd, iov, 1025, 2);
	SUBMIT(IOCB_CMD_PREADV, fd, NULL, 2, 2);
	SUBMIT(IOCB_CMD_PREADV, fd, (void *)1, 2, 2);
	SUBMIT(IOCB_CMD_PREADV, fd, &wild, 1, 2);
	SUBMIT(IOCB_CMD_PREADV, fd, &far, 1, 2);
	SUBMIT(IOCB_CMD_PWRITEV, fd, iov, 3, 2);
	SUBMIT(IOCB_CMD_PWRITEV, rd, iov, 3, 2);
	SUBMIT(IOCB_CMD_PWRITEV, fd, &wild, 1, 2);
	SUBMIT(IOCB_CMD_FSYNC, fd, NULL, 0, 0);
	SUBMIT(IOCB_CMD_FSYNC, rd, NULL, 0, 0);
	SUBMIT(IOCB_CMD_FDSYNC, dir, NULL, 0, 0);
	SUBMIT(IOCB_CMD_FDSYNC, 99, NULL, 0, 0);
	SUBMIT(IOCB_CMD_FSYNC, fd, data, 0, 0);
	SUBMIT(IOCB_CMD_FSYNC, fd, NULL, 4, 0);
	SUBMIT(IOCB_CMD_FSYNC, fd, NULL, 0, 4);
	R(pipe(p));
	SUBMIT(IOCB_CMD_PREAD, p[1], data, 4, 0);
	SUBMIT(IOCB_CMD_POLL, fd, (void *)POLLIN, 0, 0);
	SUBMIT(IOCB_CMD_POLL, fd, (void *)(POLLIN | POLLOUT), 0, 0);
	SUBMIT(IOCB_CMD_POLL, fd, (void *)POLLIN, 1, 0);
	SUBMIT(IOCB_CMD_POLL, fd, (void *)POLLIN, 0, 1);
	SUBMIT(IOCB_CMD_POLL, fd, (void *)0x10000, 0, 0);
	SUBMIT(IOCB_CMD_POLL, p[1], (void *)POLLOUT, 0, 0);
	SUBMIT(IOCB_CMD_POLL, 99, (void *)POLLIN, 0, 0);
	contents("f");
	R(syscall(SYS_io_destroy, context));
}

CASE(async_fields)
{
	int fd = make("f", "0123456789"), p[2];
	static const int flags[] = { 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x8000 };

	R(pipe(p));
	begin();
	for (int write = 0; write < 2; write++) {
		struct iocb good = request(write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, fd, data, 4, 0), cb;

		cb = good, cb.aio_reserved2 = 1, submit("reserved2", &cb);
		cb = good, cb.aio_key = 7, submit("key", &cb), say("  %u", cb.aio_key);
		cb = good, cb.aio_flags = 4, submit("flags 4", &cb);
		cb = good, cb.aio_flags = 0xffff0000, submit("many flags", &cb);
		cb = good, cb.aio_reqprio = 0x7777, submit("priority without its flag", &cb);
		cb = good, cb.aio_reqprio = 0x7777, cb.aio_flags = IOCB_FLAG_IOPRIO, submit("priority", &cb);
		cb = good, cb.aio_reqprio = 0x4000, cb.aio_flags = IOCB_FLAG_IOPRIO, submit("best effort", &cb);
		cb = good, cb.aio_reqprio = 3, cb.aio_flags = IOCB_FLAG_IOPRIO, submit("none with a level", &cb);
		cb = good, cb.aio_resfd = 99, submit("resfd without its flag", &cb);
		cb = good, cb.aio_resfd = 99, cb.aio_flags = IOCB_FLAG_RESFD, submit("resfd 99", &cb);
		cb = good, cb.aio_resfd = (uint32_t)p[1], cb.aio_flags = IOCB_FLAG_RESFD, submit("resfd a pipe", &cb);
		cb = good, cb.aio_resfd = (uint32_t)fd, cb.aio_flags = IOCB_FLAG_RESFD, submit("resfd itself", &cb);
		for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
			char what[32];

			if (flags[i] == RWF_NOWAIT || flags[i] == 0x20 || flags[i] == 0x40 || flags[i] == 0x80)
				continue; /* documented; newer than some kernels */
			cb = good, cb.aio_rw_flags = flags[i];
			sprintf(what, "rw_flags %#x", flags[i]);
			submit(what, &cb);
		}
	}
	facts("f");
	R(syscall(SYS_io_destroy, context));
}

CASE(async_submissions)
{
	int fd = make("f", "0123456789"), native = (open)("/proc/self/stat", O_RDONLY);
	struct iocb good[4], bad = request(IOCB_CMD_PREAD, 99, data, 4, 0), other, *list[8];
	struct io_event events[32];
	struct timespec second = { 5, 0 }, none = { 0 }, wrong = { 0, -1 };

	begin();
	for (int i = 0; i < 4; i++)
		good[i] = request(IOCB_CMD_PREAD, fd, data + i * 16, 4, i);
	other = request(IOCB_CMD_PREAD, native, data + 100, 4, 0);
	list[0] = &good[0], list[1] = &other, list[2] = &good[1], list[3] = &bad, list[4] = &good[2];
	R(syscall(SYS_io_submit, context, 5l, list));
	R(syscall(SYS_io_getevents, context, 3l, 8l, events, &second));
	R(syscall(SYS_io_submit, context, 1l, list + 3));
	list[0] = (struct iocb *)1;
	R(syscall(SYS_io_submit, context, 1l, list));
	list[0] = &good[0], list[1] = (struct iocb *)1;
	R(syscall(SYS_io_submit, context, 2l, list));
	R(syscall(SYS_io_getevents, context, 1l, 8l, events, &second));
	R(syscall(SYS_io_submit, context, 0l, list));
	R(syscall(SYS_io_submit, context, 0l, NULL));
	R(syscall(SYS_io_submit, context, -5l, list));
	R(syscall(SYS_io_submit, 0l, 1l, list));
	R(syscall(SYS_io_submit, context, 1l, NULL));
	R(syscall(SYS_io_submit, context, 1l, list));
	R(syscall(SYS_io_getevents, context, 1l, 8l, events, &wrong) >= -1);
	R(syscall(SYS_io_getevents, context, -1l, 8l, events, &none));
	R(syscall(SYS_io_getevents, context, 1l, -1l, events, &none));
	R(syscall(SYS_io_getevents, context, 5l, 2l, events, &none));
	R(syscall(SYS_io_getevents, context, 0l, 8l, events, (void *)1));
	R(syscall(SYS_io_submit, context, 1l, list));
	R(syscall(SYS_io_getevents, context, 1l, 8l, (void *)1, &second));
	R(syscall(SYS_io_getevents, context, 0l, 8l, NULL, &none));
	R(syscall(SYS_io_getevents, context, 0l, 8l, events, &none) >= 0);
	R(syscall(SYS_io_cancel, context, &good[0], events));
	R(syscall(SYS_io_cancel, context, (void *)1, events));
	R(syscall(SYS_io_cancel, 77l, &good[0], events));
	R(syscall(SYS_io_destroy, context));
	R(syscall(SYS_io_submit, context, 1l, list));
	R(syscall(SYS_io_getevents, context, 0l, 8l, events, &none));
	R(syscall(SYS_io_setup, 4, &context));
	context = 0;
	R(syscall(SYS_io_setup, -1, &context));
	R(syscall(SYS_io_setup, 0x7fffffff, &context));
	R(syscall(SYS_io_setup, 1, NULL));
}

CASE(async_notification)
{
	int fd = make("f", "0123456789"), bell = eventfd(0, 0);
	struct iocb cb[3], *list[3];
	struct io_event events[4];
	struct timespec second = { 5, 0 };
	struct pollfd p = { .fd = bell, .events = POLLIN };
	uint64_t n = 0;

	begin();
	for (int i = 0; i < 3; i++) {
		cb[i] = request(IOCB_CMD_PREAD, fd, data + i * 16, 4, i);
		cb[i].aio_flags = IOCB_FLAG_RESFD, cb[i].aio_resfd = (uint32_t)bell;
		list[i] = &cb[i];
	}
	R(syscall(SYS_io_submit, context, 3l, list));
	R(syscall(SYS_io_getevents, context, 3l, 4l, events, &second));
	R(poll(&p, 1, 5000));
	R((read)(bell, &n, sizeof n));
	R(n);
	cb[0].aio_buf = 1; /* an error tells as well */
	R(syscall(SYS_io_submit, context, 1l, list));
	R(syscall(SYS_io_getevents, context, 1l, 4l, events, &second));
	R(poll(&p, 1, 5000));
	R((read)(bell, &n, sizeof n));
	R(n);
	R((close)(fd)); /* what is under way has it */
	R(syscall(SYS_io_submit, context, 1l, list));
	R(syscall(SYS_io_destroy, context));
}
#endif
