/* Files in the hands of torture's threads: what all read, through descriptors that all share; files of
 * one's own, compared with a model; a log that all processes append to, whose records are counted at
 * the end. */
#include "torture.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define MODEL (192 * 1024)

/* --- Files that all read ------------------------------------------------------------------- */

void read_shared(unsigned *rnd, uint8_t *buf)
{
	const struct shared *s = &shared[some(rnd, N_SHARED)];
	size_t offset = some(rnd, s->size + 1000), n = some(rnd, some(rnd, 4) ? 8192 : PIECE);
	struct iovec iov[3] = { { buf, n / 3 }, { buf + n / 3, n / 2 }, { buf + n / 3 + n / 2, n - n / 3 - n / 2 } };
	ssize_t got;

	if (some(rnd, 2)) {
		got = pread(s->fd, buf, n, (off_t)offset);
		check_count("pread", got, n, s->size, offset);
	} else {
		got = preadv(s->fd, iov, 3, (off_t)offset);
		check_count("preadv", got, n, s->size, offset);
	}
	check_bytes("a shared file", buf, (size_t)got, s->seed, offset);
}

static void reader_step(struct me *m)
{
	m->may_call = true;
	read_shared(&m->rnd, m->buf);
	m->may_call = false;
}

const struct role role_reader = { .name = "reader", .threads = 2, .step = reader_step };

/* Two descriptors with one offset. */
void read_by_dup(unsigned *rnd, uint8_t *buf)
{
	int i = (int)some(rnd, N_SHARED);
	const struct shared *s = &shared[i];
	char path[PATH_SIZE];
	int fd = MUST(open(path_of(path, "shared", i), O_RDONLY | O_CLOEXEC)), copy = MUST(dup(fd));
	size_t at = some(rnd, s->size);
	ssize_t got;

	MUST(lseek(copy, (off_t)at, SEEK_SET));
	for (int k = 0; k < 6; k++) {
		size_t n = some(rnd, 5000);

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
	int i = (int)some(rnd, N_SHARED);
	const struct shared *s = &shared[i];
	size_t at = some(rnd, s->size), n = some(rnd, 30000);
	char path[PATH_SIZE];
	FILE *f = fopen(path_of(path, "shared", i), "r");

	if (!f || fseek(f, (long)at, SEEK_SET) < 0)
		FAIL("fopen: %s", strerror(errno));
	n = n < s->size - at ? n : s->size - at;
	check_count("fread", (ssize_t)fread(buf, 1, n, f), n, s->size, at);
	check_bytes("fread", buf, n, s->seed, at);
	if (fclose(f) != 0)
		FAIL("fclose: %s", strerror(errno));
}

void read_by_map(unsigned *rnd)
{
	const struct shared *s = &shared[some(rnd, N_SHARED)];
	uint8_t *p = mmap(NULL, s->size, PROT_READ, some(rnd, 2) ? MAP_PRIVATE : MAP_SHARED, s->fd, 0);

	if (p == MAP_FAILED)
		FAIL("mmap: %s", strerror(errno));
	check_bytes("mmap", p, s->size, s->seed, 0);
	MUST(munmap(p, s->size));
}

static void look_around(unsigned *rnd)
{
	int i = (int)some(rnd, N_SHARED), n = 0;
	struct stat st;
	char path[PATH_SIZE];
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

static void opener_step(struct me *m)
{
	switch (some(&m->rnd, 5)) {
	case 0:
		look_around(&m->rnd);
		break;
	case 1:
		read_by_map(&m->rnd);
		break;
	case 2:
		read_by_stdio(&m->rnd, m->buf);
		break;
	default:
		m->may_call = true;
		read_by_dup(&m->rnd, m->buf);
		m->may_call = false;
	}
}

const struct role role_opener = { .name = "opener", .threads = 2, .step = opener_step };

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

static void own_write(struct own *o, unsigned *rnd, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		o->model[at + i] = (uint8_t)rand_r(rnd);
	if (at > o->size)
		memset(o->model + o->size, 0, at - o->size);
	if (MUST(pwrite(o->fd, o->model + at, n, (off_t)at)) != (ssize_t)n)
		FAIL("a short write");
	o->size = at + n > o->size ? at + n : o->size;
}

static void writer_step(struct me *m)
{
	struct own *o = m->own;
	unsigned *rnd = &m->rnd;
	size_t at = some(rnd, MODEL), n = some(rnd, MODEL - at) + 1;
	char path[PATH_SIZE], other[PATH_SIZE];

	m->may_call = true;
	switch (some(rnd, 8)) {
	case 0:
		own_write(o, rnd, at, n / 16 + 1);
		break;
	case 1:
	case 2:
		own_write(o, rnd, at, n);
		break;
	case 3:
		MUST(ftruncate(o->fd, (off_t)at));
		if (at > o->size)
			memset(o->model + o->size, 0, at - o->size);
		o->size = at;
		break;
	case 4:
		MUST(some(rnd, 2) ? fsync(o->fd) : fdatasync(o->fd));
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
	m->may_call = false;
}

static void writer_begin(struct me *m)
{
	struct own *o = calloc(1, sizeof *o);
	char path[PATH_SIZE];

	if (!o)
		FAIL("no memory");
	o->id = m->number;
	o->fd = MUST(open(path_of(path, "own", o->id), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	m->own = o;
}

static void writer_end(struct me *m)
{
	struct own *o = m->own;

	own_check(o, 0, MODEL);
	MUST(close(o->fd));
	free(o);
}

const struct role role_writer = {
	.name = "writer", .threads = 2, .begin = writer_begin, .step = writer_step, .end = writer_end
};

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

void log_begin(void)
{
	char path[PATH_SIZE];

	MUST(close(MUST(open(path_of(path, "log", 0), O_WRONLY | O_CREAT, 0644))));
}

void log_append(int fd, uint32_t id, uint32_t number)
{
	struct record r = { 0xff3f5106, (uint32_t)getpid(), id, number, 0 };

	r.sum = record_sum(&r);
	if (MUST(write(fd, &r, sizeof r)) != sizeof r)
		FAIL("a short append");
}

void log_count(uint32_t n)
{
	n_records += n;
}

void log_check(void)
{
	char path[PATH_SIZE];
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

static void appender_begin(struct me *m)
{
	char path[PATH_SIZE];

	m->own = (void *)(intptr_t)MUST(open(path_of(path, "log", 0), O_WRONLY | O_APPEND | O_CLOEXEC));
}

static void appender_step(struct me *m)
{
	m->may_call = true;
	log_append((int)(intptr_t)m->own, (uint32_t)m->number, (uint32_t)m->steps);
	m->may_call = false;
	log_count(1);
}

static void appender_end(struct me *m)
{
	MUST(close((int)(intptr_t)m->own));
}

const struct role role_appender = { .name = "appender",
				    .threads = 2,
				    .begin = appender_begin,
				    .step = appender_step,
				    .end = appender_end };
