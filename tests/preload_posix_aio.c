/* POSIX aio in the directory of argument 1; prints what it saw: the same lines must come from a local
 * directory. Files of /tmp take part as native ones. */
#include <aio.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "preload_show.h"

static int file(const char *name, int flags)
{
	int fd = open(at(name), flags | O_CREAT, 0644);

	CHECK(fd >= 0);
	return fd;
}

static int native_file(void)
{
	char name[] = "/tmp/preload-posix-aio.XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0 && unlink(name) == 0);
	return fd;
}

static struct aiocb *fill(struct aiocb *cb, int fd, const void *buf, size_t n, off_t offset)
{
	*cb = (struct aiocb){ .aio_fildes = fd,
			      .aio_buf = (void *)buf,
			      .aio_nbytes = n,
			      .aio_offset = offset,
			      .aio_sigevent.sigev_notify = SIGEV_NONE };
	return cb;
}

/* Waits, and says what became of it. */
static void end(const char *what, struct aiocb *cb)
{
	const struct aiocb *list[1] = { cb };
	int e;
	long r;

	while ((e = aio_error(cb)) == EINPROGRESS)
		CHECK(aio_suspend(list, 1, NULL) == 0 || errno == EINTR);
	r = aio_return(cb);
	printf("%s: error %s, return %ld\n", what, e ? strerrorname_np(e) : "0", r);
}

static void data(void)
{
	int fd = file("data", O_RDWR), in = file("data", O_RDONLY), out = file("data", O_WRONLY);
	struct aiocb a, b, c;
	char buf[64] = "";

	SHOW(aio_write(fill(&a, fd, "0123456789", 10, 0)));
	end("write", &a);
	SHOW(aio_write(fill(&a, fd, "tail", 4, 16)));
	end("write beyond", &a);
	SHOW(aio_read(fill(&a, fd, buf, sizeof buf, 0)));
	end("read", &a);
	printf("%.10s %.4s\n", buf, buf + 16);
	SHOW(aio_read(fill(&a, fd, buf, 8, 18)));
	end("short read", &a);
	SHOW(aio_read(fill(&a, fd, buf, 8, 20)));
	end("read at the end", &a);
	SHOW(aio_read(fill(&a, fd, buf, 0, 0)));
	end("read nothing", &a);
	SHOW(aio_write(fill(&a, fd, buf, 0, 0)));
	end("write nothing", &a);
	SHOW(aio_fsync(O_SYNC, fill(&a, fd, NULL, 0, 0)));
	end("sync", &a);
	SHOW(aio_fsync(O_DSYNC, fill(&a, fd, NULL, 0, 0)));
	end("data sync", &a);
	SHOW(aio_fsync(O_SYNC, fill(&a, in, NULL, 0, 0)));
	end("sync, read-only", &a);
	fill(&a, fd, NULL, 0, 0)->aio_reqprio = -1; /* of no matter here */
	SHOW(aio_fsync(O_SYNC, &a));
	end("sync of any priority", &a);
	SHOW(aio_fsync(0, fill(&a, fd, NULL, 0, 0)));
	SHOW(aio_fsync(O_SYNC, fill(&a, 9999, NULL, 0, 0)));
	SHOW(aio_read(fill(&a, out, buf, 4, 0)));
	end("read, write-only", &a);
	SHOW(aio_write(fill(&a, in, buf, 4, 0)));
	end("write, read-only", &a);
	SHOW(aio_read(fill(&a, 9999, buf, 4, 0)));
	end("closed", &a);
	SHOW(aio_read(fill(&a, fd, buf, 4, -1)));
	end("negative", &a);
	SHOW(aio_write(fill(&a, fd, buf, 4, -7)));
	end("negative write", &a);
	SHOW(aio_read(fill(&a, fd, NULL, 4, 0)));
	end("null", &a);
	SHOW(aio_write(fill(&a, fd, (void *)16, 4, 0)));
	end("unmapped", &a);
	fill(&a, fd, buf, 4, 0)->aio_reqprio = -1;
	SHOW(aio_read(&a));
	fill(&a, fd, buf, 4, 0)->aio_reqprio = 1000;
	SHOW(aio_write(&a));
	end("priority", &a);
	/* The descriptor's position has nothing to do with it; the end has, for O_APPEND. */
	SHOW(lseek(fd, 0, SEEK_CUR));
	CHECK(fcntl(fd, F_SETFL, O_APPEND) == 0);
	CHECK(aio_write(fill(&a, fd, "one", 3, 0)) == 0 && aio_write(fill(&b, fd, "two", 3, 0)) == 0 &&
	      aio_write(fill(&c, fd, "three", 5, 0)) == 0);
	end("append", &a);
	end("append", &b);
	end("append", &c);
	memset(buf, 0, sizeof buf);
	SHOW(pread(fd, buf, sizeof buf, 20));
	puts(buf);
	close(fd);
	close(in);
	close(out);
}

#define MANY 300
#define BLOCK 4096

/* What is synced are all writes before it. */
static void ordered(void)
{
	static struct aiocb w[MANY], s;
	static char block[MANY][BLOCK], back[MANY][BLOCK];
	int fd = file("ordered", O_RDWR);
	const struct aiocb *list[1] = { &s };

	for (int i = 0; i < MANY; i++) {
		memset(block[i], 'a' + i % 26, BLOCK);
		CHECK(aio_write(fill(&w[i], fd, block[i], BLOCK, i * BLOCK)) == 0);
	}
	CHECK(aio_fsync(O_SYNC, fill(&s, fd, NULL, 0, 0)) == 0);
	CHECK(aio_suspend(list, 1, NULL) == 0);
	end("sync", &s);
	for (int i = 0; i < MANY; i++)
		CHECK(aio_error(&w[i]) == 0 && aio_return(&w[i]) == BLOCK);
	for (int i = 0; i < MANY; i++)
		CHECK(aio_read(fill(&w[i], fd, back[i], BLOCK, i * BLOCK)) == 0);
	close(fd); /* they go on */
	for (int i = 0; i < MANY; i++) {
		list[0] = &w[i];
		while (aio_error(&w[i]) == EINPROGRESS)
			CHECK(aio_suspend(list, 1, NULL) == 0);
	}
	/* libc reads by the descriptor, which is gone: only that nothing else happens. */
	for (int i = 0; i < MANY; i++)
		CHECK(aio_return(&w[i]) != BLOCK || !memcmp(block[i], back[i], BLOCK));
}

static _Atomic int n_signals, n_threads;
static sem_t told;
static siginfo_t seen;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	seen = *info;
	n_signals++;
	sem_post(&told);
}

static int value_seen, masked_seen;

static void in_thread(union sigval v)
{
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	masked_seen = sigismember(&now, SIGUSR1);
	value_seen = v.sival_int;
	n_threads++;
	sem_post(&told);
}

static void wait_told(void)
{
	while (sem_wait(&told) < 0)
		;
}

static void told_of(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	int fd = file("data", O_RDWR);
	pthread_attr_t attr;
	struct aiocb a;
	char buf[8];

	sem_init(&told, 0, 0);
	sigaction(SIGUSR1, &sa, NULL);
	fill(&a, fd, buf, 4, 0)->aio_sigevent =
		(struct sigevent){ .sigev_notify = SIGEV_SIGNAL,
				   .sigev_signo = SIGUSR1,
				   .sigev_value.sival_int = 4711 };
	CHECK(aio_read(&a) == 0);
	wait_told();
	end("signalled", &a);
	printf("code %d value %d pid %d\n", seen.si_code == SI_ASYNCIO, seen.si_value.sival_int,
	       seen.si_pid == getpid());
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (int i = 0; i < 2; i++) {
		fill(&a, fd, buf, 4, 0)->aio_sigevent =
			(struct sigevent){ .sigev_notify = SIGEV_THREAD,
					   .sigev_notify_function = in_thread,
					   .sigev_value.sival_int = 100 + i };
		a.aio_sigevent.sigev_notify_attributes = i ? &attr : NULL;
		CHECK(aio_write(&a) == 0);
		wait_told();
		end("thread", &a);
		printf("value %d masked %d\n", value_seen, masked_seen);
	}
	/* An error is told of as well. */
	fill(&a, fd, NULL, 4, 0)->aio_sigevent =
		(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	CHECK(aio_read(&a) == 0);
	wait_told();
	end("signalled error", &a);
	printf("signals %d threads %d\n", n_signals, n_threads);
	close(fd);
}

static void lists(void)
{
	int fd = file("list", O_RDWR), native = native_file();
	struct sigevent sig = { .sigev_notify = SIGEV_SIGNAL,
				.sigev_signo = SIGUSR1,
				.sigev_value.sival_int = 7 };
	struct aiocb a, b, c, d, *all[6] = { &a, NULL, &b, &c, &d, NULL };
	char buf[16] = "", other[16] = "";

	n_signals = 0;
	SHOW(lio_listio(77, all, 6, NULL));
	fill(&a, fd, "ours", 4, 0)->aio_lio_opcode = LIO_WRITE;
	fill(&b, native, "theirs", 6, 0)->aio_lio_opcode = LIO_WRITE;
	fill(&c, fd, "OURS", 4, 4)->aio_lio_opcode = LIO_WRITE;
	fill(&d, 9999, NULL, 4, 4)->aio_lio_opcode = LIO_NOP;
	SHOW(lio_listio(LIO_WAIT, all, 6, NULL));
	end("a", &a);
	end("b", &b);
	end("c", &c);
	fill(&a, fd, buf, 8, 0)->aio_lio_opcode = LIO_READ;
	fill(&b, native, other, 8, 0)->aio_lio_opcode = LIO_READ;
	fill(&c, fd, buf, 4, -1)->aio_lio_opcode = LIO_READ;
	SHOW(lio_listio(LIO_WAIT, all, 6, NULL));
	end("a", &a);
	end("b", &b);
	end("c", &c);
	puts(buf);
	puts(other);
	for (int i = 0; i < 3; i++) { /* all on one side, or on both */
		fill(&a, i == 1 ? native : fd, buf, 4, 0)->aio_lio_opcode = LIO_READ;
		fill(&b, i == 0 ? fd : native, other, 4, 0)->aio_lio_opcode = LIO_READ;
		fill(&c, i == 1 ? native : fd, buf + 4, 4, 4)->aio_lio_opcode = LIO_READ;
		SHOW(lio_listio(LIO_NOWAIT, all, 6, &sig));
		wait_told();
		end("a", &a);
		end("b", &b);
		end("c", &c);
		printf("signals %d value %d\n", n_signals, seen.si_value.sival_int);
	}
	a.aio_lio_opcode = b.aio_lio_opcode = c.aio_lio_opcode = LIO_NOP;
	SHOW(lio_listio(LIO_NOWAIT, all, 6, &sig));
	wait_told();
	SHOW(lio_listio(LIO_WAIT, all, 6, NULL));
	SHOW(lio_listio(LIO_WAIT, all, 0, NULL));
	printf("signals %d\n", n_signals);
	a.aio_reqprio = -1;
	a.aio_lio_opcode = LIO_READ;
	SHOW(lio_listio(LIO_WAIT, all, 1, NULL));
	close(native);
	close(fd);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void suspended(void)
{
	int fd = file("data", O_RDWR), p[2];
	struct timespec soon = { 0, 20000000 }, now = { 0, 0 };
	/* Again and again: the first may come just before the waiting. */
	struct itimerval alarms = { { 0, 20000 }, { 0, 20000 } }, no_alarms = { 0 };
	struct sigaction sa = { .sa_handler = on_alarm };
	const struct aiocb *list[3] = { NULL, NULL, NULL };
	struct aiocb a, b;
	char buf[8], byte;

	CHECK(pipe(p) == 0);
	SHOW(aio_suspend(list, 0, NULL));
	SHOW(aio_suspend(list, -1, NULL));
	SHOW(aio_suspend(list, 3, &now));
	/* The pipe's is libc's and takes its time. */
	SHOW(aio_read(fill(&b, p[0], &byte, 1, 0)));
	list[2] = &b;
	SHOW(aio_suspend(list, 3, &soon));
	for (int i = 0; i < 20; i++) {
		CHECK(aio_read(fill(&a, fd, buf, 4, 0)) == 0);
		list[0] = &a;
		CHECK(aio_suspend(list, 3, NULL) == 0);
		CHECK(aio_error(&a) == 0 && aio_return(&a) == 4);
		CHECK(aio_error(&b) == EINPROGRESS);
	}
	sigaction(SIGALRM, &sa, NULL);
	list[0] = NULL;
	setitimer(ITIMER_REAL, &alarms, NULL);
	SHOW(aio_suspend(list, 3, NULL));
	setitimer(ITIMER_REAL, &no_alarms, NULL);
	CHECK(write(p[1], "x", 1) == 1);
	end("pipe", &b);
	close(p[0]);
	close(p[1]);
	close(fd);
}

static void cancelled(void)
{
	int fd = file("data", O_RDWR), other = file("other", O_RDWR);
	struct aiocb a;
	char buf[8];

	SHOW(aio_cancel(9999, NULL));
	SHOW(aio_cancel(fd, NULL));
	CHECK(aio_read(fill(&a, fd, buf, 4, 0)) == 0);
	SHOW(aio_cancel(other, &a));
	end("not cancelled", &a);
	SHOW(aio_cancel(fd, &a));
	SHOW(aio_cancel(fd, NULL));
	/* One that waits is cancelled, one that runs is not; how far it got is a matter of luck. */
	static struct aiocb w[50], s;
	static char block[1 << 16];
	int states[3] = { 0 }, r;

	if (!getenv("CANCEL_MANY")) /* libc's own then loses one */
		return;
	for (int i = 0; i < 50; i++)
		CHECK(aio_write(fill(&w[i], fd, block, sizeof block, i * (off_t)sizeof block)) == 0);
	CHECK(aio_fsync(O_SYNC, fill(&s, fd, NULL, 0, 0)) == 0);
	r = aio_cancel(fd, NULL);
	CHECK(r == AIO_CANCELED || r == AIO_NOTCANCELED || r == AIO_ALLDONE);
	for (int i = 0; i < 51; i++) {
		struct aiocb *cb = i < 50 ? &w[i] : &s;
		const struct aiocb *list[1] = { cb };

		while (aio_error(cb) == EINPROGRESS)
			CHECK(aio_suspend(list, 1, NULL) == 0);
		CHECK(aio_error(cb) == 0 || aio_error(cb) == ECANCELED);
		CHECK(aio_return(cb) == (aio_error(cb) ? -1 : i < 50 ? (long)sizeof block : 0));
	}
	close(fd);
	close(other);
}

static void forked(void)
{
	int fd = file("data", O_RDWR), status;
	struct aiocb a, b;
	char buf[8];
	pid_t child;

	CHECK(aio_read(fill(&a, fd, buf, 4, 0)) == 0);
	fflush(stdout);
	child = fork();
	if (child == 0) {
		SHOW(aio_read(fill(&b, fd, buf, 4, 0)));
		end("in the child", &b);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("child %d\n", status);
	end("in the parent", &a);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	dir = argv[1];
	data();
	ordered();
	told_of();
	lists();
	suspended();
	cancelled();
	if (getenv("FORKED")) /* in libc's own child nothing ends */
		forked();
	return 0;
}
