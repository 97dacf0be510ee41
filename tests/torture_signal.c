/* Signals in torture: handlers that read, write, open and close files in the middle of anything, calls on the
 * same files included. Such a call inside a call may be refused (EDEADLK), but not be wrong. A handler may
 * come in the middle of another. Only functions that are async-signal-safe, and stderr when all is lost. */
#include "torture.h"

#include <signal.h>
#include <sys/time.h>

#define RECORD 64

static _Atomic unsigned long n_handled, n_refused;
static char shared_path[PATH_SIZE];
static int written = -1; /* a record for each thread */

unsigned long signals_handled(void)
{
	return n_handled;
}

unsigned long signals_refused(void)
{
	return n_refused;
}

/* Was it made? */
static bool made(const char *what, ssize_t r, ssize_t want)
{
	if (r < 0 && errno == EDEADLK) {
		n_refused++;
		return false;
	}
	if (r < 0 || (want >= 0 && r != want))
		FAIL("in a handler: %s: %zd, %s", what, r, strerror(errno));
	return true;
}

static void reads(int fd)
{
	uint8_t buf[RECORD];

	if (made("pread", pread(fd, buf, sizeof buf, 4096), RECORD))
		check_bytes("a handler's pread", buf, sizeof buf, shared[0].seed, 4096);
}

static void opens(void)
{
	int fd = open(shared_path, O_RDONLY | O_CLOEXEC);
	uint8_t buf[RECORD];
	struct stat st;

	if (!made("open", fd, -1))
		return;
	if (made("fstat", fstat(fd, &st), 0) && st.st_size != (off_t)shared[0].size)
		FAIL("in a handler: fstat: size %lld", (long long)st.st_size);
	if (made("read", read(fd, buf, sizeof buf), RECORD))
		check_bytes("a handler's read", buf, sizeof buf, shared[0].seed, 0);
	while (!made("close", close(fd), 0))
		;
}

static void stats(void)
{
	struct stat st;

	if (made("stat", stat(shared_path, &st), 0) && st.st_size != (off_t)shared[0].size)
		FAIL("in a handler: stat: size %lld", (long long)st.st_size);
}

static void writes(void)
{
	uint8_t buf[RECORD], got[RECORD];
	off_t at = me->number * 1000;

	for (size_t i = 0; i < sizeof buf; i++)
		buf[i] = byte_at(seed0, (uint64_t)at + i);
	if (!made("pwrite", pwrite(written, buf, sizeof buf, at), RECORD))
		return;
	if (made("pread of what was written", pread(written, got, sizeof got, at), RECORD))
		check_bytes("what a handler wrote", got, sizeof got, seed0, (uint64_t)at);
}

static void on_signal(int sig)
{
	static _Atomic unsigned turn;
	int saved = errno;

	(void)sig;
	if (!me || !me->may_call)
		return;
	switch (turn++ % 4) {
	case 0:
		opens();
		break;
	case 1:
		stats();
		break;
	case 2:
		writes();
		break;
	default:
		reads(shared[0].fd);
	}
	n_handled++;
	errno = saved;
}

/* SIGUSR1 and SIGUSR2 are sent to threads, SIGALRM comes to any. */
void signals_begin(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 17000 }, { 0, 17000 } };
	char path[PATH_SIZE];

	path_of(shared_path, "shared", 0);
	written = MUST(open(path_of(path, "handled", 0), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	action.sa_flags = 0;
	sigaction(SIGUSR2, &action, NULL);
	MUST(setitimer(ITIMER_REAL, &often, NULL));
}
