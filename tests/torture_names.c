/* Names, locks and descriptors in torture: walkers go through directories while their files are renamed;
 * lockers count in files, which only locks keep right; closers close and replace descriptors that racers read
 * through at that time; cancellers end threads in the middle of calls. */

#include "torture.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <time.h>

/* --- Walkers ------------------------------------------------------------------------------- */

#define FIXED 20
#define WALKERS 2

static char walked[PATH_SIZE];

static void tiny_file(const char *name, int i)
{
	char path[PATH_SIZE + 40];
	uint8_t buf[64];
	int fd;

	snprintf(path, sizeof path, "%s/%s.%d", walked, name, i);
	for (size_t k = 0; k < sizeof buf; k++)
		buf[k] = byte_at((uint64_t)i, k);
	fd = MUST(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
	if (MUST(write(fd, buf, sizeof buf)) != sizeof buf)
		FAIL("a short write");
	MUST(close(fd));
}

static void check_tiny(int fd, int i)
{
	uint8_t buf[100];

	if (AGAIN(read(fd, buf, sizeof buf)) != 64)
		FAIL("a walked file: not 64 bytes");
	check_bytes("a walked file", buf, 64, (uint64_t)i, 0);
	MUST(close(fd));
}

static void walk(unsigned *rnd)
{
	unsigned seen[FIXED] = { 0 };
	int look = (int)some(rnd, FIXED), i, n;
	const struct dirent *e;
	char path[PATH_SIZE + 300];
	DIR *d = opendir(walked);

	if (!d)
		FAIL("opendir: %s", strerror(errno));
	while ((e = readdir(d))) {
		if (sscanf(e->d_name, "fixed.%d%n", &i, &n) == 1 && i >= 0 && i < FIXED)
			seen[i]++;
		else if (sscanf(e->d_name, "here.%d%n", &i, &n) != 1 &&
			 sscanf(e->d_name, "there.%d%n", &i, &n) != 1 && e->d_name[0] != '.')
			FAIL("readdir: a file %s", e->d_name);
		if (i == look && e->d_name[0] != '.') {
			int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);

			if (fd >= 0)
				check_tiny(fd, i);
			else if (errno != ENOENT || e->d_name[0] == 'f')
				FAIL("openat of %s: %s", e->d_name, strerror(errno));
		}
	}
	closedir(d);
	for (i = 0; i < FIXED; i++)
		if (seen[i] != 1)
			FAIL("readdir: fixed.%d %u times", i, seen[i]);
	snprintf(path, sizeof path, "%s/fixed.%d", walked, look);
	check_tiny(MUST(open(path, O_RDONLY | O_CLOEXEC)), look);
}

static _Thread_local int tree_files;

static int tree_entry(const char *path, const struct stat *st, int type, struct FTW *f)
{
	tree_files += type == FTW_F && strncmp(path + f->base, "fixed.", 6) == 0;
	if (type == FTW_F && st->st_size != 64)
		FAIL("nftw: %s has %lld bytes", path, (long long)st->st_size);
	return 0;
}

static void walker_begin(struct me *m)
{
	static _Atomic int n_walkers;

	m->own = (void *)(intptr_t)n_walkers++;
}

static void walker_step(struct me *m)
{
	char here[PATH_SIZE + 40], there[PATH_SIZE + 40];
	int mine = (int)(intptr_t)m->own;

	if (some(&m->rnd, 8) == 0) {
		tree_files = 0;
		MUST(nftw(walked, tree_entry, 10, FTW_PHYS));
		if (tree_files != FIXED)
			FAIL("nftw: %d of %d files", tree_files, FIXED);
		return;
	}
	walk(&m->rnd);
	snprintf(here, sizeof here, "%s/here.%d", walked, mine);
	snprintf(there, sizeof there, "%s/there.%d", walked, mine);
	MUST(rename(here, there));
	if (access(here, F_OK) == 0 || errno != ENOENT)
		FAIL("what was renamed is still there");
	MUST(rename(there, here));
}

const struct role role_walker = { .name = "walker", .threads = WALKERS, .begin = walker_begin, .step = walker_step };

/* --- Lockers ------------------------------------------------------------------------------- */

enum { BY_FLOCK, BY_OFD, BY_POSIX, KINDS };
static _Atomic uint64_t counted[KINDS]; /* POSIX locks: between processes, so only children count */

static void add_one(int fd, off_t at)
{
	uint64_t n = 0;

	AGAIN(pread(fd, &n, sizeof n, at));
	n++;
	if (AGAIN(pwrite(fd, &n, sizeof n, at)) != sizeof n)
		FAIL("a short write");
}

static void count_by(int kind)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = kind * 8, .l_len = 8 };
	char path[PATH_SIZE];
	int fd = MUST(open(path_of(path, "counted", kind), O_RDWR | O_CLOEXEC));

	if (kind == BY_FLOCK)
		AGAIN(flock(fd, LOCK_EX));
	else
		AGAIN(fcntl(fd, kind == BY_OFD ? F_OFD_SETLKW : F_SETLKW, &l));
	add_one(fd, kind * 8);
	/* A child that was forked meanwhile has the description too: closing it is not enough. */
	l.l_type = F_UNLCK;
	if (kind == BY_FLOCK)
		AGAIN(flock(fd, LOCK_UN));
	else if (kind == BY_OFD)
		AGAIN(fcntl(fd, F_OFD_SETLK, &l));
	MUST(close(fd));
}

void count_in_child(void)
{
	for (int i = 0; i < KINDS; i++)
		count_by(i);
}

void count_told(void)
{
	for (int i = 0; i < KINDS; i++)
		counted[i]++;
}

void count_check(void)
{
	for (int i = 0; i < KINDS; i++) {
		char path[PATH_SIZE];
		int fd = MUST(open(path_of(path, "counted", i), O_RDWR | O_CLOEXEC));
		uint64_t n = 0;

		MUST(pread(fd, &n, sizeof n, i * 8));
		if (n != counted[i])
			FAIL("locks of kind %d: counted %llu, not %llu", i, (unsigned long long)n,
			     (unsigned long long)counted[i]);
		MUST(close(fd));
	}
}

static void locker_step(struct me *m)
{
	int kind = (int)some(&m->rnd, 2);

	count_by(kind);
	counted[kind]++;
}

const struct role role_locker = { .name = "locker", .threads = 2, .step = locker_step };

/* --- Closers and racers -------------------------------------------------------------------- */

/* Descriptors that no open() gets: what is read through one is of the file that it was, or of nothing. */
#define RACED 4
static struct raced {
	int fd;
	_Atomic unsigned version; /* odd while it changes */
	_Atomic int file;	  /* of shared, or -1 */
} raced[RACED];

static void closer_step(struct me *m)
{
	struct raced *r = &raced[some(&m->rnd, RACED / 2) * 2 + (size_t)m->number % 2];
	int i = (int)some(&m->rnd, N_SHARED);

	m->may_call = true;
	r->version++;
	if (r->file >= 0 && some(&m->rnd, 2)) {
		MUST(close(r->fd));
		r->file = -1;
	} else {
		MUST(dup3(shared[i].fd, r->fd, O_CLOEXEC));
		r->file = i;
	}
	r->version++;
	if (some(&m->rnd, 3) == 0)
		nanosleep(&(struct timespec){ 0, 200000 }, NULL);
	m->may_call = false;
}

static bool is_of(int i, const uint8_t *p, size_t n, size_t at)
{
	size_t want = at >= shared[i].size ? 0 : shared[i].size - at < n ? shared[i].size - at : n;

	for (size_t k = 0; k < want; k++)
		if (p[k] != byte_at(shared[i].seed, at + k))
			return false;
	return true;
}

static void racer_step(struct me *m)
{
	const struct raced *r = &raced[some(&m->rnd, RACED)];
	unsigned before = r->version;
	int i = r->file;
	size_t at = some(&m->rnd, 4000), n = 16 + some(&m->rnd, 900);
	ssize_t got = pread(r->fd, m->buf, n, (off_t)at);
	int error = got < 0 ? errno : 0;
	bool steady = before % 2 == 0 && r->version == before;

	if (error && error != EBADF)
		FAIL("pread of a raced descriptor: %s", strerror(error));
	if (steady && (i < 0) != (error != 0))
		FAIL("pread: %zd (%s) of file %d", got, strerror(error), i);
	if (error)
		return;
	if (got != (ssize_t)n)
		FAIL("pread of a raced descriptor: %zd of %zu bytes", got, n);
	for (int k = 0; k < N_SHARED; k++)
		if (is_of(k, m->buf, n, at) && (!steady || k == i))
			return;
	FAIL("a raced descriptor gave bytes of another file");
}

/* Two: the number says whose descriptors these are. */
const struct role role_closer = { .name = "closer", .threads = 2, .step = closer_step };
const struct role role_racer = { .name = "racer", .threads = 2, .step = racer_step };

/* --- Cancellers ---------------------------------------------------------------------------- */

static void *reads_forever(void *arg)
{
	unsigned rnd = (unsigned)(uintptr_t)arg;
	static __thread uint8_t buf[20000]; /* nothing is lost when the thread is */

	for (;;) {
		const struct shared *s = &shared[some(&rnd, N_SHARED)];
		size_t at = some(&rnd, s->size), n = some(&rnd, sizeof buf);
		ssize_t got = pread(s->fd, buf, n, (off_t)at);

		check_count("pread", got, n, s->size, at);
		check_bytes("pread", buf, (size_t)got, s->seed, at);
	}
	return arg;
}

static void canceller_step(struct me *m)
{
	struct timespec pause = { 0, (long)some(&m->rnd, 3000000) };
	pthread_t thread;
	void *result;

	if (pthread_create(&thread, NULL, reads_forever, (void *)(uintptr_t)rand_r(&m->rnd)) != 0)
		FAIL("pthread_create");
	nanosleep(&pause, NULL);
	pthread_cancel(thread);
	pthread_join(thread, &result);
	if (result != PTHREAD_CANCELED)
		FAIL("a thread was not cancelled");
}

const struct role role_canceller = { .name = "canceller", .threads = 1, .step = canceller_step };

/* --- Before all that ----------------------------------------------------------------------- */

void names_begin(void)
{
	char path[PATH_SIZE];
	struct rlimit limit;

	snprintf(walked, sizeof walked, "%s/walked", dir);
	MUST(mkdir(walked, 0755));
	for (int i = 0; i < FIXED; i++)
		tiny_file("fixed", i);
	for (int i = 0; i < WALKERS; i++)
		tiny_file("here", i);
	for (int i = 0; i < KINDS; i++)
		MUST(close(MUST(open(path_of(path, "counted", i), O_WRONLY | O_CREAT, 0644))));
	/* Far from those that descriptors of ours get (from 500), of which a build with ThreadSanitizer, whose
	 * interceptor of close hides who calls it, does not give all back. */
	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < RACED; i++) {
		raced[i].fd = (int)((limit.rlim_cur < 65536 ? limit.rlim_cur : 65536) / 4 * 3) - 8 + i;
		raced[i].file = -1;
	}
}
