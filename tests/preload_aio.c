/* Linux AIO in the directory of argument 2, by syscall() or, with argument 3 "libaio", by libaio's
 * functions. Argument 1: "calls" prints what it saw (the same lines must come from a local
 * directory); the others (preload_aio_many.c) check themselves. */
#include "preload_aio.h"

const char *dir;
void *libaio;

static void show(const char *what, long r)
{
	printf("%s = %ld%s%s\n", what, r, r < 0 ? " " : "", r < 0 ? strerrorname_np((int)-r) : "");
}
#define SHOW(call) show(#call, (call))

/* Submits the first n of list, and prints that and, by number, the events of those taken. */
static void run(aio_context_t ctx, const char *what, long n)
{
	long r = submit(ctx, n, list), got = 0;
	long res[N], expected = r > 0 ? r : 0;

	show(what, r);
	while (got < expected) {
		long k = getevents(ctx, expected - got, N, events, NULL);

		CHECK(k > 0);
		for (long i = 0; i < k; i++) {
			CHECK(events[i].data >= 1 && events[i].data <= N);
			CHECK(events[i].obj == (uint64_t)(uintptr_t)&iocbs[events[i].data - 1]);
			CHECK(events[i].res2 == 0);
			res[events[i].data - 1] = (long)events[i].res;
		}
		got += k;
	}
	CHECK(got == expected);
	for (long i = 0; i < expected; i++) {
		printf("  %ld: ", i);
		show("res", res[i]);
	}
}

static void contexts(void)
{
	aio_context_t ctx = 0, zero = 0;
	struct timespec now = { 0, 0 };

	SHOW(setup(0, &ctx));
	SHOW(setup(-1, &ctx));
	SHOW(setup(INT_MAX, &ctx));
	SHOW(setup(8, (void *)8));
	ctx = 1;
	SHOW(setup(8, &ctx));
	SHOW(destroy(0));
	SHOW(destroy(0x1234));
	SHOW(submit(0x1234, 1, list));
	SHOW(submit(0, 0, NULL));
	if (!libaio) /* it looks into the ring there */
		SHOW(getevents(0x1234, 0, 1, events, &now));
	SHOW(setup(8, &zero));
	SHOW(submit(zero, 0, NULL));
	SHOW(submit(zero, -1, list));
	SHOW(getevents(zero, 0, 1, events, &now));
	SHOW(getevents(zero, 2, 1, events, &now));
	SHOW(getevents(zero, -1, 1, events, &now));
	SHOW(getevents(zero, 0, -1, events, &now));
	SHOW(getevents(zero, 1, 1, events, &now));
	SHOW(destroy(zero));
	SHOW(destroy(zero));
}

static void data(aio_context_t ctx)
{
	int fd = file("data", O_RDWR);
	char a[32], b[64];
	struct iovec w[3] = { { "abc", 3 }, { "", 0 }, { "defgh", 5 } };
	struct iovec r[2] = { { a, 2 }, { a + 8, 20 } };
	struct stat st;

	memset(a, '.', sizeof a);
	request(0, IOCB_CMD_PWRITE, fd, "0123456789", 10, 0);
	request(1, IOCB_CMD_PWRITE, fd, "tail", 4, 20);
	request(2, IOCB_CMD_PWRITEV, fd, w, 3, 10);
	run(ctx, "writes", 3);
	request(0, IOCB_CMD_FSYNC, fd, NULL, 0, 0);
	request(1, IOCB_CMD_FDSYNC, fd, NULL, 0, 0);
	run(ctx, "syncs", 2);
	CHECK(fstat(fd, &st) == 0);
	printf("size %ld\n", (long)st.st_size);
	request(0, IOCB_CMD_PREAD, fd, b, sizeof b, 0);
	run(ctx, "short read", 1);
	for (int i = 0; i < 24; i++)
		putchar(b[i] ? b[i] : '0');
	putchar('\n');
	request(0, IOCB_CMD_PREAD, fd, b, 8, 22);
	request(1, IOCB_CMD_PREAD, fd, b, 8, 24);
	request(2, IOCB_CMD_PREAD, fd, b, 8, 1 << 20);
	request(3, IOCB_CMD_PREAD, fd, b, 0, 0);
	request(4, IOCB_CMD_PWRITE, fd, b, 0, 0);
	request(5, IOCB_CMD_PREADV, fd, r, 2, 9);
	request(6, IOCB_CMD_PREADV, fd, r, 0, 9);
	request(7, IOCB_CMD_PWRITEV, fd, NULL, 0, 9);
	run(ctx, "ends", 8);
	printf("%.32s\n", a);
	request(0, IOCB_CMD_PWRITE, fd, "append", 6, 0)->aio_rw_flags = 16;
	run(ctx, "RWF_APPEND", 1);
	request(0, IOCB_CMD_PREAD, fd, b, 3, 0);
	request(1, IOCB_CMD_PREAD, fd, b, 3, 0)->aio_rw_flags = 16;
	request(2, IOCB_CMD_PWRITE, fd, "synced", 6, 40)->aio_rw_flags = 2 | 4;
	request(3, IOCB_CMD_POLL, fd, (void *)(POLLIN | POLLOUT), 0, 0);
	run(ctx, "flags", 4);
	CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0);
	request(0, IOCB_CMD_PWRITE, fd, "end", 3, 0);
	run(ctx, "O_APPEND", 1);
	CHECK(fstat(fd, &st) == 0);
	printf("size %ld\n", (long)st.st_size);
	CHECK(pread(fd, b, sizeof b, 0) > 0);
	printf("%.10s %.6s %.6s %.3s\n", b, b + 24, b + 40, b + 46);
	close(fd);
}

/* Each alone: the error must be that of the submission. */
static void bad(aio_context_t ctx)
{
	int fd = file("data", O_RDWR), in = open(path_of("data"), O_RDONLY);
	int out = open(path_of("data"), O_WRONLY), d = open(dir, O_RDONLY | O_DIRECTORY);
	int none = open(path_of("data"), O_PATH);
	char b[16];
	struct iovec v[2] = { { b, 8 }, { (void *)16, 8 } }, neg = { b, (size_t)-1 };
	void *kernel = (void *)0xffff800000000000ul;
	struct iovec far = { kernel, 8 };

	struct stat st;

	CHECK(fstat(fd, &st) == 0);
#define ONE(what, ...) (request(0, __VA_ARGS__), run(ctx, what, 1))
	ONE("read of a closed descriptor", IOCB_CMD_PREAD, 9999, b, 1, 0);
	ONE("read of -1", IOCB_CMD_PREAD, -1, b, 1, 0);
	ONE("read, write-only", IOCB_CMD_PREAD, out, b, 1, 0);
	ONE("write, read-only", IOCB_CMD_PWRITE, in, b, 1, 0);
	ONE("sync, read-only", IOCB_CMD_FSYNC, in, NULL, 0, 0);
	ONE("read, O_PATH", IOCB_CMD_PREAD, none, b, 1, 0);
	ONE("sync, O_PATH", IOCB_CMD_FSYNC, none, NULL, 0, 0);
	ONE("read of a directory", IOCB_CMD_PREAD, d, b, 1, 0);
	ONE("write to a directory", IOCB_CMD_PWRITE, d, b, 1, 0);
	ONE("sync of a directory", IOCB_CMD_FSYNC, d, NULL, 0, 0);
	ONE("negative offset", IOCB_CMD_PREAD, fd, b, 1, -1);
	ONE("negative offset of a write", IOCB_CMD_PWRITE, fd, b, 1, -5);
	ONE("offset beyond all", IOCB_CMD_PREAD, fd, b, 16, LLONG_MAX - 4);
	ONE("negative length", IOCB_CMD_PREAD, fd, b, (size_t)-1, 0);
	ONE("null", IOCB_CMD_PREAD, fd, NULL, 8, 0);
	ONE("null written", IOCB_CMD_PWRITE, fd, NULL, 8, 0);
	ONE("unmapped", IOCB_CMD_PREAD, fd, (void *)16, 8, 0);
	ONE("unmapped written", IOCB_CMD_PWRITE, fd, (void *)16, 8, 0);
	ONE("the kernel's", IOCB_CMD_PREAD, fd, kernel, 8, 0);
	ONE("the kernel's written", IOCB_CMD_PWRITE, fd, kernel, 8, 0);
	ONE("vector, bad pointer", IOCB_CMD_PREADV, fd, (void *)16, 2, 0);
	ONE("vector, null", IOCB_CMD_PREADV, fd, NULL, 1, 0);
	ONE("vector, negative", IOCB_CMD_PREADV, fd, &neg, 1, 0);
	ONE("vector, the kernel's", IOCB_CMD_PWRITEV, fd, &far, 1, 0);
	ONE("vector, too many", IOCB_CMD_PREADV, fd, v, 1025, 0);
	ONE("sync with a length", IOCB_CMD_FSYNC, fd, NULL, 1, 0);
	ONE("sync with an offset", IOCB_CMD_FDSYNC, fd, NULL, 0, 1);
	ONE("sync with a buffer", IOCB_CMD_FSYNC, fd, b, 0, 0);
	ONE("noop", IOCB_CMD_NOOP, fd, NULL, 0, 0);
	ONE("opcode 4", 4, fd, NULL, 0, 0);
	ONE("opcode 99", 99, fd, NULL, 0, 0);
	request(0, IOCB_CMD_PREAD, fd, b, 1, 0)->aio_reserved2 = 1;
	run(ctx, "reserved", 1);
	request(0, IOCB_CMD_PREAD, fd, b, 1, 0)->aio_rw_flags = 0x1000;
	run(ctx, "unknown flags", 1);
	request(0, IOCB_CMD_FSYNC, fd, NULL, 0, 0)->aio_rw_flags = 1;
	run(ctx, "sync with flags", 1);
	request(0, IOCB_CMD_PREAD, fd, b, 1, 0)->aio_flags = IOCB_FLAG_IOPRIO;
	iocbs[0].aio_reqprio = 5 << 13;
	run(ctx, "priority", 1);
	request(0, IOCB_CMD_PREAD, fd, b, 1, 0);
	list[1] = (void *)8;
	request(2, IOCB_CMD_PREAD, fd, b, 1, 0);
	run(ctx, "bad pointer in the middle", 3);
	SHOW(submit(ctx, 1, list + 1));
	SHOW(submit(ctx, 1, (void *)8));
	request(1, IOCB_CMD_PREAD, 9999, b, 1, 0);
	run(ctx, "bad descriptor in the middle", 3);
	request(1, IOCB_CMD_PREAD, fd, b, 1, -1);
	run(ctx, "bad offset in the middle", 3);
	SHOW(cancel(ctx, &iocbs[0], events));
	SHOW(cancel(ctx, (void *)8, events));
	iocbs[0].aio_key = 3;
	SHOW(cancel(ctx, &iocbs[0], events));
	close(fd);
	close(in);
	close(out);
	close(d);
	close(none);
}

static void bad_events(aio_context_t ctx)
{
	int fd = file("data", O_RDWR);
	struct timespec now = { 0, 0 }, short_time = { 0, 400000000 };
	char b[16];

	request(0, IOCB_CMD_PREAD, fd, b, 8, 0);
	SHOW(submit(ctx, 1, list));
	SHOW(getevents(ctx, 1, 1, (void *)8, NULL));
	if (!libaio) /* it looks at the time itself */
		SHOW(getevents(ctx, 1, 1, events, (void *)8));
	SHOW(getevents(ctx, 2, 1, events, &now));
	SHOW(getevents(ctx, -1, 1, events, &now));
	SHOW(getevents(ctx, 0, 0, events, &now));
	SHOW(getevents(ctx, 1, 2, events, NULL));
	SHOW(getevents(ctx, 0, 2, events, NULL));
	SHOW(getevents(ctx, 1, 2, events, &now));
	SHOW(getevents(ctx, 1, 2, events, &short_time));
	request(0, IOCB_CMD_PREAD, fd, b, 8, 0);
	request(1, IOCB_CMD_PREAD, fd, b, 8, 0);
	SHOW(submit(ctx, 2, list));
	SHOW(getevents(ctx, 3, 5, events, &short_time));
	close(fd);
}

static void notified(aio_context_t ctx)
{
	int fd = file("data", O_RDWR), e = eventfd(0, EFD_NONBLOCK), again;
	uint64_t value = 0;
	char b[16];

	for (int i = 0; i < 3; i++) {
		request(i, IOCB_CMD_PREAD, fd, b, 1, i)->aio_flags = IOCB_FLAG_RESFD;
		iocbs[i].aio_resfd = (uint32_t)e;
	}
	iocbs[1].aio_flags = 0;
	run(ctx, "with an eventfd", 3);
	SHOW(read(e, &value, 8));
	printf("told %ld\n", (long)value);
	iocbs[1].aio_flags = IOCB_FLAG_RESFD;
	iocbs[1].aio_resfd = (uint32_t)fd;
	run(ctx, "a file as eventfd", 3);
	iocbs[1].aio_resfd = 9999;
	run(ctx, "closed eventfd", 3);
	SHOW(read(e, &value, 8));
	printf("told %ld\n", (long)value);
	/* Closed while requests are under way, and its number used for something else. */
	again = dup(e);
	iocbs[1].aio_resfd = (uint32_t)e;
	SHOW(submit(ctx, 3, list));
	close(e);
	CHECK(open(path_of("victim"), O_RDWR | O_CREAT | O_TRUNC, 0644) == e);
	SHOW(getevents(ctx, 3, 3, events, NULL));
	SHOW(read(again, &value, 8));
	printf("told %ld\n", (long)value);
	SHOW(lseek(e, 0, SEEK_END));
	close(e);
	close(again);
	close(fd);
}

/* The context also has requests that only the kernel knows. */
static void mixed(aio_context_t ctx)
{
	int fd = file("data", O_RDWR), p[2], native;
	char name[] = "/tmp/preload-aio.XXXXXX", a[8], b[8], c[8];
	struct timespec short_time = { 0, 400000000 };
	pid_t child;

	native = mkstemp(name);
	CHECK(native >= 0 && pipe(p) == 0 && unlink(name) == 0);
	request(0, IOCB_CMD_PWRITE, native, "native!", 7, 0);
	request(1, IOCB_CMD_PWRITE, fd, "shared!", 7, 0);
	request(2, IOCB_CMD_PWRITE, native, "NATIVE", 6, 10);
	request(3, IOCB_CMD_FSYNC, native, NULL, 0, 0);
	request(4, IOCB_CMD_FSYNC, fd, NULL, 0, 0);
	run(ctx, "mixed writes", 5);
	request(0, IOCB_CMD_PREAD, fd, a, 7, 0);
	request(1, IOCB_CMD_PREAD, fd, b, 7, 0);
	request(2, IOCB_CMD_PREAD, native, c, 7, 0);
	request(3, IOCB_CMD_PREAD, native, c, 7, -4);
	request(4, IOCB_CMD_PREAD, fd, a, 7, 0);
	run(ctx, "mixed reads", 5);
	printf("%.7s %.7s %.7s\n", a, b, c);
	/* Something native is outstanding and not yet to come. */
	request(0, IOCB_CMD_POLL, p[0], (void *)POLLIN, 0, 0);
	request(1, IOCB_CMD_PREAD, fd, a, 7, 0);
	SHOW(submit(ctx, 2, list));
	SHOW(getevents(ctx, 1, 2, events, NULL));
	printf("data %ld\n", (long)events[0].data);
	SHOW(getevents(ctx, 1, 2, events, &short_time));
	SHOW(submit(ctx, 1, list + 1));
	SHOW(getevents(ctx, 2, 2, events, &short_time));
	fflush(stdout);
	child = fork();
	if (child == 0) {
		usleep(20000);
		_exit(write(p[1], "x", 1) != 1);
	}
	SHOW(getevents(ctx, 1, 2, events, NULL));
	printf("data %ld, res %ld\n", (long)events[0].data, (long)events[0].res);
	waitpid(child, NULL, 0);
	close(p[0]);
	close(p[1]);
	close(native);
	close(fd);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void interrupted(aio_context_t ctx)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	/* Again and again: the first may come just before the waiting. */
	struct itimerval soon = { { 0, 20000 }, { 0, 20000 } }, never = { 0 };
	struct timespec long_time = { 10, 0 };
	sigset_t blocked, open_set;

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	SHOW(getevents(ctx, 1, 2, events, NULL));
	SHOW(getevents(ctx, 1, 2, events, &long_time));
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGALRM);
	sigprocmask(SIG_BLOCK, &blocked, &open_set);
	sigdelset(&open_set, SIGALRM);
	SHOW(pgetevents(ctx, 1, 2, events, &long_time, &open_set));
	setitimer(ITIMER_REAL, &never, NULL);
	SHOW(pgetevents(ctx, 0, 2, events, NULL, NULL));
	sigprocmask(SIG_SETMASK, &open_set, NULL);
}

static void forked(aio_context_t ctx)
{
	int fd = file("data", O_RDWR), status;
	aio_context_t own = 0;
	char b[8];
	pid_t child;

	request(0, IOCB_CMD_PREAD, fd, b, 7, 0);
	SHOW(submit(ctx, 1, list));
	fflush(stdout);
	child = fork();
	if (child == 0) {
		struct timespec now = { 0, 0 };

		SHOW(submit(ctx, 1, list));
		if (!libaio)
			SHOW(getevents(ctx, 0, 1, events, &now));
		SHOW(destroy(ctx));
		SHOW(setup(4, &own));
		run(own, "in the child", 1);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("child %d\n", status);
	SHOW(getevents(ctx, 1, 1, events, NULL));
	close(fd);
}

void calls(void)
{
	aio_context_t ctx = 0;

	contexts();
	CHECK(setup(N, &ctx) == 0);
	data(ctx);
	bad(ctx);
	bad_events(ctx);
	notified(ctx);
	mixed(ctx);
	interrupted(ctx);
	if (!getenv("UNFORKED"))
		forked(ctx);
	SHOW(destroy(ctx));
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	dir = argv[2];
	if (!strcmp(argv[1], "fill") || !strcmp(argv[1], "away")) {
		if (argv[1][0] == 'f')
			fill_files(atoi(argv[3]));
		else
			away(atoi(argv[3]), atoi(argv[4]));
		return 0;
	}
	if (argc > 3) {
		libaio = dlopen("libaio.so.1", RTLD_NOW | RTLD_GLOBAL);
		if (!libaio)
			return 77;
	}
	if (!strcmp(argv[1], "calls"))
		calls();
	else if (!strcmp(argv[1], "many"))
		many();
	else if (!strcmp(argv[1], "threads"))
		threads();
	else if (!strcmp(argv[1], "ends"))
		ends();
	else
		return 2;
	return 0;
}
