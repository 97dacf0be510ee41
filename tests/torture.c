/* Threads, forks and signals on one directory, all at once, every byte checked:
 *
 *	torture [--calm] [--stuck SECONDS] [--without ROLE] DIR SECONDS SEED
 *
 * Each thread plays a role until the time is over: it reads files that all read through descriptors that all
 * share, writes files of its own that it compares with a model, maps, locks, renames, forks, cancels, submits
 * I/O; signal handlers open, read and write in the middle of all that (torture_*.c). It knows nothing of
 * what serves DIR, so a local directory is its control. Exits with 1 at the first wrong byte or
 * result; with 3 when a thread has not come on for a minute, after gdb has shown, where there is one, where
 * every thread and child is. --calm: while one forks, no other makes a call: ThreadSanitizer holds
 * locks of its own while fork handlers run, AddressSanitizer does not care for its allocator's. */

#include "torture.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

char dir[2048];
unsigned seed0;
_Atomic int stop;
struct shared shared[N_SHARED], big;
__thread struct me *me;

static int calm, stuck_seconds = 60;
static const char *without = "";
static pthread_rwlock_t forking; /* writers first */

/* --- Checks -------------------------------------------------------------------------------- */

void fail(void)
{
	_exit(1);
}

const char *path_of(char *buf, const char *name, int i)
{
	snprintf(buf, PATH_SIZE, "%s/%s.%d", dir, name, i);
	return buf;
}

void check_bytes(const char *how, const uint8_t *p, size_t n, uint64_t seed, uint64_t offset)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(seed, offset + i))
			FAIL("%s: wrong byte at %llu: %02x", how, (unsigned long long)(offset + i), p[i]);
}

void check_count(const char *how, ssize_t got, size_t asked, size_t size, size_t offset)
{
	size_t want = offset >= size ? 0 : size - offset < asked ? size - offset : asked;

	if (got != (ssize_t)want)
		FAIL("%s: %zd of %zu bytes at %zu of %zu: %s", how, got, want, offset, size,
		     got < 0 ? strerror(errno) : "wrong count");
}

void make_shared(struct shared *s, const char *name, int i, size_t size)
{
	char path[PATH_SIZE];
	uint8_t *data = malloc(size);
	int fd;

	if (!data)
		FAIL("no memory");
	s->seed = seed0 * 1000003ull + (unsigned)i;
	s->size = size;
	for (size_t k = 0; k < s->size; k++)
		data[k] = byte_at(s->seed, k);
	fd = MUST(open(path_of(path, name, i), O_WRONLY | O_CREAT | O_TRUNC, 0644));
	if (MUST(write(fd, data, s->size)) != (ssize_t)s->size)
		FAIL("a short write");
	MUST(close(fd));
	free(data);
	s->fd = MUST(open(path, O_RDONLY));
}

/* --- Whoever is stuck ---------------------------------------------------------------------- */

static int alive = -1; /* to the watcher: a byte now and then */

/* Shows this process, its children, and who keeps locks for them. */
static const char show[] =
	"pids=\"$1 $(pgrep -P $1 | tr '\\n' ' ') $(pgrep -x ff3fs-lock | tr '\\n' ' ')\"\n"
	"for p in $pids; do [ $p = $$ ] || [ $p = $PPID ] || { echo \"--- $p\";\n"
	"timeout 120 gdb -p $p -batch -ex 'thread apply all bt 40' 2>/dev/null; }; done >&2";

static void watch(int from, pid_t whom)
{
	struct pollfd p = { .fd = from, .events = POLLIN };
	char c, pid[16], *argv[] = { (char *)"sh", (char *)"-c", (char *)show, (char *)"sh", pid, NULL },
		*envp[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (poll(&p, 1, (stuck_seconds + 30) * 1000) > 0)
		if (read(from, &c, 1) <= 0)
			_exit(0);
		else if (c == 's')
			break;
	fprintf(stderr, "torture: stuck; its threads:\n");
	snprintf(pid, sizeof pid, "%d", (int)whom);
	if (vfork() == 0) {
		execve("/bin/sh", argv, envp);
		_exit(127);
	}
	while (waitpid(-1, NULL, 0) < 0 && errno == EINTR)
		;
	kill(whom, SIGKILL);
	_exit(0);
}

/* A child that shows where all are, should they be stuck, and ends them. It is made before there are threads. */
static void watch_begin(void)
{
	int p[2];
	pid_t self = getpid(), child;

	MUST(pipe2(p, O_CLOEXEC));
	child = MUST(fork());
	if (child == 0) {
		close(p[1]);
		watch(p[0], self);
	}
	close(p[0]);
	alive = p[1];
}

static void tell_watcher(char c)
{
	if (write(alive, &c, 1) != 1)
		FAIL("the watcher is gone");
}

/* --- Threads ------------------------------------------------------------------------------- */

static const struct role *const roles[] = {
	&role_reader, &role_opener,    &role_writer, &role_appender, &role_forker, &role_executer,
	&role_mapper, &role_submitter, &role_poster, &role_ringer,   &role_lazy,   &role_locker,
	&role_walker, &role_closer,    &role_racer,  &role_canceller
};
#define N_ROLES (sizeof roles / sizeof *roles)
#define MAX_THREADS 40

static struct thread {
	pthread_t id;
	const struct role *role;
	struct me me;
	unsigned long seen;
	int idle;
} threads[MAX_THREADS];
static size_t n_threads;

static void *run(void *arg)
{
	struct thread *t = arg;
	const struct role *role = t->role;

	me = &t->me;
	me->rnd = seed0 + (unsigned)me->number * 7919;
	me->buf = malloc(PIECE);
	if (!me->buf)
		FAIL("no memory");
	if (role->begin)
		role->begin(me);
	while (!stop) {
		if (calm && role->forks) {
			for (struct timespec left = { .tv_sec = 2 }; nanosleep(&left, &left) < 0 && !stop;)
				;
			pthread_rwlock_wrlock(&forking);
		} else if (calm) {
			pthread_rwlock_rdlock(&forking);
		}
		role->step(me);
		if (calm)
			pthread_rwlock_unlock(&forking);
		me->steps++;
	}
	if (role->end)
		role->end(me);
	free(me->buf);
	return NULL;
}

static void threads_begin(void)
{
	for (size_t i = 0; i < N_ROLES; i++)
		for (int k = 0; k < roles[i]->threads && strcmp(roles[i]->name, without) != 0; k++) {
			struct thread *t = &threads[n_threads];

			t->role = roles[i];
			t->me.number = (int)n_threads++;
			if (pthread_create(&t->id, NULL, run, t) != 0)
				FAIL("pthread_create");
		}
}

static void threads_end(void)
{
	stop = 1;
	for (size_t i = 0; i < n_threads; i++) {
		pthread_join(threads[i].id, NULL);
		tell_watcher('.');
	}
	for (size_t i = 0, k = 0; i < N_ROLES; i++) {
		unsigned long n = 0;

		for (; k < n_threads && threads[k].role == roles[i]; k++)
			n += threads[k].me.steps;
		printf("%s%s %lu", i ? ", " : "", roles[i]->name, n);
	}
}

static void look_at_threads(void)
{
	for (size_t i = 0; i < n_threads; i++) {
		struct thread *t = &threads[i];

		t->idle = t->me.steps == t->seen ? t->idle + 1 : 0;
		t->seen = t->me.steps;
		if (t->idle > stuck_seconds) {
			fprintf(stderr, "torture: %s %zu is stuck after %lu steps\n", t->role->name, i, t->seen);
			tell_watcher('s');
			pause();
		}
	}
	tell_watcher('.');
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Signals go to random threads; every second it looks whether all have come on. */
static void conduct(int seconds)
{
	struct timespec little = { .tv_nsec = 3000000 };
	uint64_t begin = now_ms(), looked = begin, now;
	unsigned rnd = seed0;

	while ((now = now_ms()) < begin + (uint64_t)seconds * 1000) {
		nanosleep(&little, NULL);
		pthread_kill(threads[some(&rnd, n_threads)].id, some(&rnd, 2) ? SIGUSR1 : SIGUSR2);
		if (now - looked >= 1000) {
			looked = now;
			look_at_threads();
		}
	}
}

static void torture(int seconds)
{
	pthread_rwlockattr_t prefer;

	pthread_rwlockattr_init(&prefer);
	pthread_rwlockattr_setkind_np(&prefer, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&forking, &prefer);
	watch_begin();
	MUST(mkdir(dir, 0755));
	for (int i = 0; i < N_SHARED; i++)
		make_shared(&shared[i], "shared", i,
			    5000 + (size_t)(seed0 * 7 + (unsigned)i * 300007) % 2500000);
	make_shared(&big, "big", N_SHARED, 12345678);
	log_begin();
	maps_begin();
	names_begin();
	signals_begin();
	threads_begin();
	conduct(seconds);
	threads_end();
	log_check();
	count_check();
	printf("; %lu signals, %lu calls refused in handlers\n", signals_handled(), signals_refused());
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "calm", no_argument, NULL, 'c' },
						 { "stuck", required_argument, NULL, 's' },
						 { "without", required_argument, NULL, 'w' },
						 { 0 } };
	int c;

	if (argc == 5 && strcmp(argv[1], "--inherited") == 0)
		return verify_inherited(argv + 2);
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
		if (c == 'c')
			calm = 1;
		else if (c == 's')
			stuck_seconds = atoi(optarg);
		else if (c == 'w')
			without = optarg;
		else
			return 2;
	if (argc - optind != 3) {
		fprintf(stderr, "usage: torture [--calm] [--stuck SECONDS] [--without ROLE] DIR SECONDS SEED\n");
		return 2;
	}
	snprintf(dir, sizeof dir, "%s", argv[optind]);
	seed0 = (unsigned)atoi(argv[optind + 2]);
	torture(atoi(argv[optind + 1]));
	return 0;
}
