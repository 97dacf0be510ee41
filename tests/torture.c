/* Threads, forks and signals on one directory, all at once, every byte checked (long because each kind
 * of reader, writer and child is an actor of its own in one process):
 *
 *	torture [--calm] DIR SECONDS SEED
 *
 * Shared files are read by every thread and every child through descriptors that all share; writers
 * compare their own files with a model; appenders of all processes share a log whose records are
 * counted at the end; children come by fork, by vfork and exec (they take inherited descriptors
 * up), and by posix_spawn; signal handlers read in the middle of all that. It knows nothing of
 * what serves DIR, so a local directory is its control. Exits with 1 at the first wrong byte or
 * result, with 3 when a thread has not come on for a minute. --calm: while one forks, no other makes a
 * call: ThreadSanitizer holds locks of its own while fork handlers run, AddressSanitizer does not care
 * for its allocator's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_SHARED 6
#define N_APPENDERS 2
#define PIECE (256 * 1024)
#define MODEL (192 * 1024)
#define STUCK_SECONDS 60

extern char **environ;

static char dir[2048];
static unsigned seed0;
static int calm;
static pthread_rwlock_t forking; /* writers first */
static _Atomic int stop;
static struct shared {
	int fd;
	uint64_t seed;
	size_t size;
} shared[N_SHARED];

#define FAIL(...)                                                                                  \
	do {                                                                                       \
		fprintf(stderr, "torture: pid %d: ", (int)getpid());                               \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		_exit(1);                                                                          \
	} while (0)
#define MUST(call)                                                                                 \
	({                                                                                         \
		__typeof__(call) _r = (call);                                                      \
		if (_r < 0)                                                                        \
			FAIL("%s: %s", #call, strerror(errno));                                    \
		_r;                                                                                \
	})

static const char *path_of(char *buf, const char *name, int i)
{
	snprintf(buf, 2100, "%s/%s.%d", dir, name, i);
	return buf;
}

/* The byte at an offset of a shared file. */
static uint8_t byte_at(uint64_t seed, uint64_t offset)
{
	return (uint8_t)(((offset / 8 + seed) * 0x9e3779b97f4a7c15ull) >> (offset % 8 * 8));
}

static void check_bytes(const char *how, const uint8_t *p, size_t n, uint64_t seed, uint64_t offset)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte_at(seed, offset + i))
			FAIL("%s: wrong byte at %llu: %02x", how, (unsigned long long)(offset + i), p[i]);
}

static void check_count(const char *how, ssize_t got, size_t asked, size_t size, size_t offset)
{
	size_t want = offset >= size ? 0 : size - offset < asked ? size - offset : asked;

	if (got != (ssize_t)want)
		FAIL("%s: %zd of %zu bytes at %zu of %zu: %s", how, got, want, offset, size,
		     got < 0 ? strerror(errno) : "wrong count");
}

/* --- What threads and children do ---------------------------------------------------------- */

static void read_shared(unsigned *rnd, uint8_t *buf)
{
	const struct shared *s = &shared[rand_r(rnd) % N_SHARED];
	size_t offset = (size_t)rand_r(rnd) % (s->size + 1000),
	       n = (size_t)rand_r(rnd) % (rand_r(rnd) % 4 ? 8192 : PIECE);
	struct iovec iov[3] = { { buf, n / 3 }, { buf + n / 3, n / 2 }, { buf + n / 3 + n / 2, n - n / 3 - n / 2 } };
	ssize_t got;

	if (rand_r(rnd) % 2) {
		got = pread(s->fd, buf, n, (off_t)offset);
		check_count("pread", got, n, s->size, offset);
	} else {
		got = preadv(s->fd, iov, 3, (off_t)offset);
		check_count("preadv", got, n, s->size, offset);
	}
	check_bytes("a shared file", buf, (size_t)got, s->seed, offset);
}

/* Two descriptors with one offset. */
static void read_by_dup(unsigned *rnd, uint8_t *buf)
{
	int i = rand_r(rnd) % N_SHARED;
	const struct shared *s = &shared[i];
	char path[2100];
	int fd = MUST(open(path_of(path, "shared", i), O_RDONLY | O_CLOEXEC)), copy = MUST(dup(fd));
	size_t at = (size_t)rand_r(rnd) % s->size;
	ssize_t got;

	MUST(lseek(copy, (off_t)at, SEEK_SET));
	for (int k = 0; k < 6; k++) {
		size_t n = (size_t)rand_r(rnd) % 5000;

		got = read(k % 2 ? fd : copy, buf, n);
		check_count("read", got, n, s->size, at);
		check_bytes("read", buf, (size_t)got, s->seed, at);
		at += (size_t)got;
	}
	MUST(close(fd));
	if (lseek(copy, 0, SEEK_CUR) != (off_t)at)
		FAIL("a copy's offset is not its original's");
	MUST(close(copy));
}

static void read_by_stdio(unsigned *rnd, uint8_t *buf)
{
	int i = rand_r(rnd) % N_SHARED;
	const struct shared *s = &shared[i];
	size_t at = (size_t)rand_r(rnd) % s->size, n = (size_t)rand_r(rnd) % 30000;
	char path[2100];
	FILE *f = fopen(path_of(path, "shared", i), "r");

	if (!f || fseek(f, (long)at, SEEK_SET) < 0)
		FAIL("fopen: %s", strerror(errno));
	n = n < s->size - at ? n : s->size - at;
	check_count("fread", (ssize_t)fread(buf, 1, n, f), n, s->size, at);
	check_bytes("fread", buf, n, s->seed, at);
	if (fclose(f) != 0)
		FAIL("fclose: %s", strerror(errno));
}

static void read_by_map(unsigned *rnd)
{
	int i = rand_r(rnd) % N_SHARED;
	const struct shared *s = &shared[i];
	uint8_t *p = mmap(NULL, s->size, PROT_READ, rand_r(rnd) % 2 ? MAP_PRIVATE : MAP_SHARED, s->fd, 0);

	if (p == MAP_FAILED)
		FAIL("mmap: %s", strerror(errno));
	check_bytes("mmap", p, s->size, s->seed, 0);
	MUST(munmap(p, s->size));
}

/* Linux AIO: what is in flight ends in any order. A child of a fork has no contexts. */
#define IN_FLIGHT 12

static void read_by_aio(aio_context_t context, unsigned *rnd, uint8_t *buf)
{
	struct iocb cbs[IN_FLIGHT], *list[IN_FLIGHT];
	struct io_event events[IN_FLIGHT];
	int n = 1 + rand_r(rnd) % IN_FLIGHT;

	for (int i = 0; i < n; i++) {
		int k = rand_r(rnd) % N_SHARED;

		cbs[i] = (struct iocb){ .aio_data = (uint64_t)k,
					.aio_lio_opcode = IOCB_CMD_PREAD,
					.aio_fildes = (uint32_t)shared[k].fd,
					.aio_buf = (uintptr_t)(buf + i * (PIECE / IN_FLIGHT)),
					.aio_nbytes = (uint64_t)rand_r(rnd) % (PIECE / IN_FLIGHT),
					.aio_offset = rand_r(rnd) % (long)shared[k].size };
		list[i] = &cbs[i];
	}
	if (MUST(syscall(SYS_io_submit, context, n, list)) != n)
		FAIL("io_submit took fewer");
	for (int have = 0; have < n;) {
		long got = syscall(SYS_io_getevents, context, 1, n - have, events, NULL);

		if (got < 0 && errno == EINTR)
			continue;
		MUST(got);
		for (long i = 0; i < got; i++, have++) {
			const struct iocb *cb = (const struct iocb *)(uintptr_t)events[i].obj;
			const struct shared *s = &shared[events[i].data];

			check_count("AIO", events[i].res, cb->aio_nbytes, s->size, (size_t)cb->aio_offset);
			check_bytes("AIO", (const uint8_t *)(uintptr_t)cb->aio_buf, (size_t)events[i].res,
				    s->seed, (uint64_t)cb->aio_offset);
		}
	}
}

static void look_around(unsigned *rnd)
{
	int i = rand_r(rnd) % N_SHARED, n = 0;
	struct stat st;
	char path[2100];
	DIR *d = opendir(dir);
	const struct dirent *e;

	if (!d)
		FAIL("opendir: %s", strerror(errno));
	while ((e = readdir(d)))
		n += strncmp(e->d_name, "shared.", 7) == 0;
	closedir(d);
	if (n != N_SHARED)
		FAIL("readdir: %d of %d files", n, N_SHARED);
	MUST(stat(path_of(path, "shared", i), &st));
	if (st.st_size != (off_t)shared[i].size)
		FAIL("stat: size %lld", (long long)st.st_size);
	if (stat(path_of(path, "nothing", 0), &st) == 0 || errno != ENOENT)
		FAIL("stat of nothing");
}

/* --- A file of one's own ------------------------------------------------------------------- */

struct own {
	int fd, id;
	size_t size;
	uint8_t model[MODEL], buf[MODEL];
};

static void own_check(struct own *o, size_t at, size_t n)
{
	ssize_t got = pread(o->fd, o->buf, n, (off_t)at);

	check_count("own file", got, n, o->size, at);
	if (got > 0 && memcmp(o->buf, o->model + at, (size_t)got) != 0)
		FAIL("own file %d: wrong bytes in [%zu, %zu)", o->id, at, at + (size_t)got);
}

static void own_step(struct own *o, unsigned *rnd)
{
	size_t at = (size_t)rand_r(rnd) % MODEL, n = (size_t)rand_r(rnd) % (MODEL - at) + 1;
	char path[2100], other[2100];

	switch (rand_r(rnd) % 8) {
	case 0:
		n = n / 16 + 1;
		__attribute__((fallthrough));
	case 1:
	case 2:
		for (size_t i = 0; i < n; i++)
			o->model[at + i] = (uint8_t)rand_r(rnd);
		if (at > o->size)
			memset(o->model + o->size, 0, at - o->size);
		if (MUST(pwrite(o->fd, o->model + at, n, (off_t)at)) != (ssize_t)n)
			FAIL("a short write");
		o->size = at + n > o->size ? at + n : o->size;
		break;
	case 3:
		MUST(ftruncate(o->fd, (off_t)at));
		if (at > o->size)
			memset(o->model + o->size, 0, at - o->size);
		o->size = at;
		break;
	case 4:
		MUST(rand_r(rnd) % 2 ? fsync(o->fd) : fdatasync(o->fd));
		break;
	case 5:
		MUST(rename(path_of(path, "own", o->id), path_of(other, "other", o->id)));
		MUST(rename(other, path));
		break;
	case 6:
		MUST(close(o->fd));
		o->fd = MUST(open(path_of(path, "own", o->id), O_RDWR | O_CLOEXEC));
		break;
	default:
		own_check(o, at, n);
	}
}

/* --- The log ------------------------------------------------------------------------------- */

struct record {
	uint32_t magic, pid, id, number;
	uint64_t sum;
};

static _Atomic uint32_t n_records; /* of this process and of children that told */

static uint64_t record_sum(const struct record *r)
{
	return ((uint64_t)r->pid << 32 | r->number) * 0x9e3779b97f4a7c15ull + r->id + r->magic;
}

static void append(int fd, uint32_t id, uint32_t number)
{
	struct record r = { 0xff3f5106, (uint32_t)getpid(), id, number, 0 };

	r.sum = record_sum(&r);
	if (MUST(write(fd, &r, sizeof r)) != sizeof r)
		FAIL("a short append");
}

static void check_log(void)
{
	char path[2100];
	FILE *f = fopen(path_of(path, "log", 0), "r");
	struct record r;
	uint32_t n = 0;

	if (!f)
		FAIL("the log is gone");
	for (; fread(&r, sizeof r, 1, f) == 1; n++)
		if (r.magic != 0xff3f5106 || r.sum != record_sum(&r))
			FAIL("record %u of the log is torn", n);
	fclose(f);
	if (n != n_records)
		FAIL("the log has %u records, %u were written", n, (unsigned)n_records);
}

/* --- Children ------------------------------------------------------------------------------ */

/* What a child made by exec does with a descriptor that it inherited. */
static int verify_inherited(int fd, uint64_t seed, size_t size)
{
	static uint8_t buf[PIECE];
	size_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof buf, (off_t)at)) > 0) {
		check_bytes("an inherited descriptor", buf, (size_t)n, seed, at);
		at += (size_t)n;
	}
	return n < 0 || at != size ? 1 : 0;
}

static void exec_args(const struct shared *s, char text[3][32], char *argv[6])
{
	snprintf(text[0], 32, "%d", s->fd);
	snprintf(text[1], 32, "%llu", (unsigned long long)s->seed);
	snprintf(text[2], 32, "%zu", s->size);
	argv[0] = (char *)"torture";
	argv[1] = (char *)"--inherited";
	for (int i = 0; i < 3; i++)
		argv[2 + i] = text[i];
	argv[5] = NULL;
}

static void wait_for(pid_t child, const char *how)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			FAIL("waitpid: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		FAIL("a child by %s ended with status 0x%x", how, status);
}

static void fork_child(unsigned *rnd, uint8_t *buf)
{
	uint32_t n = (uint32_t)rand_r(rnd) % 5, mood = (uint32_t)rand_r(rnd);
	char path[2100];
	pid_t child = MUST(fork());

	if (child != 0) {
		wait_for(child, "fork");
		n_records += n;
		return;
	}
	for (int i = 0; i < 4; i++)
		read_shared(rnd, buf);
	read_by_dup(rnd, buf);
	if (n > 0) {
		int fd = MUST(open(path_of(path, "log", 0), O_WRONLY | O_APPEND));

		for (uint32_t i = 0; i < n; i++)
			append(fd, 1000, i);
		MUST(close(fd));
	}
	if (mood % 3 == 0)
		read_by_map(rnd);
	if (mood % 2)
		_exit(0);
	exit(0);
}

static void exec_child(unsigned *rnd)
{
	const struct shared *s = &shared[rand_r(rnd) % N_SHARED];
	char text[3][32], *argv[6];
	pid_t child;
	int r;

	exec_args(s, text, argv);
	if (rand_r(rnd) % 2) {
		r = posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ);
		if (r != 0)
			FAIL("posix_spawn: %s", strerror(r));
		wait_for(child, "posix_spawn");
		return;
	}
	child = vfork();
	if (child == 0) {
		execv("/proc/self/exe", argv);
		_exit(9);
	}
	MUST(child);
	wait_for(child, "vfork");
}

/* --- Signals ------------------------------------------------------------------------------- */

static _Atomic unsigned long n_handled, n_refused;

/* A call inside a call may be refused, but not be wrong. */
static void on_signal(int signal)
{
	const struct shared *s = &shared[0];
	int saved = errno;
	uint8_t buf[64];
	ssize_t n = pread(s->fd, buf, sizeof buf, 4096);

	(void)signal;
	if (n < 0 && errno != EDEADLK)
		_exit(1);
	if (n >= 0) {
		if (n != sizeof buf)
			_exit(1);
		check_bytes("a handler's read", buf, sizeof buf, s->seed, 4096);
	}
	n_handled++;
	n_refused += n < 0;
	errno = saved;
}

/* --- Threads ------------------------------------------------------------------------------- */

enum role { READER, OPENER, WRITER, APPENDER, FORKER, EXECUTER, SUBMITTER, N_ROLES };
static const char *const role_names[] = { "reader", "opener", "writer", "appender", "forker", "executer", "submitter" };
static const enum role roles[] = { READER, READER, OPENER, OPENER,   WRITER,  WRITER,
				   APPENDER, APPENDER, FORKER, FORKER, EXECUTER, SUBMITTER };
#define N_THREADS (sizeof roles / sizeof *roles)

static struct thread {
	pthread_t id;
	int number;
	_Atomic unsigned long steps;
	unsigned long seen;
	int idle;
} threads[N_THREADS];

static void open_step(unsigned *rnd, uint8_t *buf)
{
	switch (rand_r(rnd) % 5) {
	case 0:
		look_around(rnd);
		break;
	case 1:
		read_by_map(rnd);
		break;
	case 2:
		read_by_stdio(rnd, buf);
		break;
	default:
		read_by_dup(rnd, buf);
	}
}

static void *run(void *arg)
{
	struct thread *t = arg;
	enum role role = roles[t->number];
	unsigned rnd = seed0 + (unsigned)t->number * 7919;
	uint8_t *buf = malloc(PIECE);
	struct own *own = role == WRITER ? calloc(1, sizeof *own) : NULL;
	char path[2100];
	aio_context_t context = 0;
	int log = -1;

	if (!buf || (role == WRITER && !own))
		FAIL("no memory");
	if (own) {
		own->id = t->number;
		own->fd = MUST(open(path_of(path, "own", own->id), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	}
	if (role == APPENDER)
		log = MUST(open(path_of(path, "log", 0), O_WRONLY | O_APPEND | O_CLOEXEC));
	if (role == SUBMITTER)
		MUST(syscall(SYS_io_setup, IN_FLIGHT, &context));
	while (!stop) {
		if (calm && (role == FORKER || role == EXECUTER)) {
			for (struct timespec left = { .tv_sec = 2 }; nanosleep(&left, &left) < 0 && !stop;)
				;
			pthread_rwlock_wrlock(&forking);
		} else if (calm) {
			pthread_rwlock_rdlock(&forking);
		}
		switch (role) {
		case READER:
			read_shared(&rnd, buf);
			break;
		case OPENER:
			open_step(&rnd, buf);
			break;
		case WRITER:
			own_step(own, &rnd);
			break;
		case APPENDER:
			append(log, (uint32_t)t->number, (uint32_t)t->steps);
			n_records++;
			break;
		case SUBMITTER:
			read_by_aio(context, &rnd, buf);
			break;
		case FORKER:
			fork_child(&rnd, buf);
			break;
		default:
			exec_child(&rnd);
		}
		if (calm)
			pthread_rwlock_unlock(&forking);
		t->steps++;
	}
	if (own) {
		own_check(own, 0, MODEL);
		MUST(close(own->fd));
	}
	if (log >= 0)
		MUST(close(log));
	if (context)
		MUST(syscall(SYS_io_destroy, context));
	free(own);
	free(buf);
	return NULL;
}

static void make_shared(int i)
{
	struct shared *s = &shared[i];
	char path[2100];
	uint8_t *data;
	int fd;

	s->seed = seed0 * 1000003ull + (unsigned)i;
	s->size = 5000 + (size_t)(seed0 * 7 + (unsigned)i * 300007) % 2500000;
	data = malloc(s->size);
	if (!data)
		FAIL("no memory");
	for (size_t k = 0; k < s->size; k++)
		data[k] = byte_at(s->seed, k);
	fd = MUST(open(path_of(path, "shared", i), O_WRONLY | O_CREAT | O_TRUNC, 0644));
	if (MUST(write(fd, data, s->size)) != (ssize_t)s->size)
		FAIL("a short write");
	MUST(close(fd));
	free(data);
	s->fd = MUST(open(path, O_RDONLY));
}

/* Signals go to random threads; every second it looks whether all have come on. */
static void conduct(int seconds)
{
	struct timespec pause = { .tv_nsec = 3000000 };
	unsigned rnd = seed0;

	for (int ms = 0; ms < seconds * 1000; ms += 3) {
		nanosleep(&pause, NULL);
		pthread_kill(threads[(unsigned)rand_r(&rnd) % N_THREADS].id,
			     rand_r(&rnd) % 2 ? SIGUSR1 : SIGUSR2);
		if (ms % 1000 > 2)
			continue;
		for (size_t i = 0; i < N_THREADS; i++) {
			struct thread *t = &threads[i];

			t->idle = t->steps == t->seen ? t->idle + 1 : 0;
			t->seen = t->steps;
			if (t->idle > STUCK_SECONDS) {
				fprintf(stderr, "torture: %s %zu is stuck after %lu steps\n",
					role_names[roles[i]], i, t->seen);
				_exit(3);
			}
		}
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	unsigned long total[N_ROLES] = { 0 };
	pthread_rwlockattr_t prefer;
	char path[2100];

	if (argc == 5 && strcmp(argv[1], "--inherited") == 0)
		return verify_inherited(atoi(argv[2]), strtoull(argv[3], NULL, 10),
					strtoul(argv[4], NULL, 10));
	if (argc > 1 && strcmp(argv[1], "--calm") == 0) {
		calm = 1;
		argv++;
		argc--;
	}
	if (argc != 4) {
		fprintf(stderr, "usage: torture [--calm] DIR SECONDS SEED\n");
		return 2;
	}
	snprintf(dir, sizeof dir, "%s", argv[1]);
	seed0 = (unsigned)atoi(argv[3]);
	pthread_rwlockattr_init(&prefer);
	pthread_rwlockattr_setkind_np(&prefer, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&forking, &prefer);
	MUST(mkdir(dir, 0755));
	for (int i = 0; i < N_SHARED; i++)
		make_shared(i);
	MUST(close(MUST(open(path_of(path, "log", 0), O_WRONLY | O_CREAT, 0644))));
	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = 0;
	sigaction(SIGUSR2, &action, NULL);
	for (size_t i = 0; i < N_THREADS; i++) {
		threads[i].number = (int)i;
		if (pthread_create(&threads[i].id, NULL, run, &threads[i]) != 0)
			FAIL("pthread_create");
	}
	conduct(atoi(argv[2]));
	stop = 1;
	for (size_t i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i].id, NULL);
		total[roles[i]] += threads[i].steps;
	}
	check_log();
	for (int i = 0; i < N_ROLES; i++)
		printf("%s%s %lu", i ? ", " : "", role_names[i], total[i]);
	printf("; %u records, %lu signals, %lu calls refused in handlers\n", (unsigned)n_records,
	       (unsigned long)n_handled, (unsigned long)n_refused);
	return 0;
}
