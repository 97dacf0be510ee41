/* Reads of exposed chunks, against real daemons; e2e-hot.sh starts those, and kills them. Words on
 * stdout tell it how far a mode is, lines on stdin let it go on. Long because the modes share their
 * helpers. */
#include "hot-client.h"

#include "../common/net/pass.h"

#define SIZE KIB(256)
#define BLOCK 4096u

static __thread uint64_t seed = 1;

static uint64_t rnd(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* Every 8 bytes: where they are, and in which round they were written. */
static void stamp(void *buf, size_t len, uint64_t offset, uint32_t round)
{
	uint64_t *p = buf;

	for (size_t i = 0; i < len / 8; i++)
		p[i] = (offset / 8 + i) << 32 | round;
}

/* The round, which must be the same everywhere. */
static uint32_t stamped(const void *buf, size_t len, uint64_t offset)
{
	const uint64_t *p = buf;

	for (size_t i = 0; i < len / 8; i++) {
		EQ(p[i] >> 32, (long long)(offset / 8 + i));
		EQ((uint32_t)p[i], (uint32_t)p[0]);
	}
	return (uint32_t)p[0];
}

static void write_round(struct ff3fs *c, const char *name, size_t size, uint32_t round)
{
	struct ff3fs_file *f = must_open(c, name, O_WRONLY | O_CREAT);
	_cleanup_free_ char *buf = malloc(size);

	stamp(buf, size, 0, round);
	EQ(ff3fs_pwrite(f, buf, size, 0), (long long)size);
	OK(ff3fs_close(f));
}

static struct ff3fs_hot_stats stats(struct ff3fs *c)
{
	struct ff3fs_hot_stats s;

	ff3fs_hot_stats(c, &s);
	return s;
}

static uint64_t misses(struct ff3fs *c)
{
	struct ff3fs_hot_stats s = stats(c);

	return s.absent + s.gone + s.dead + s.beyond + s.unsynced + s.checksum;
}

static uint32_t read_block(struct ff3fs_file *f, uint64_t offset)
{
	char buf[BLOCK];

	EQ(ff3fs_pread(f, buf, BLOCK, (off_t)offset), BLOCK);
	return stamped(buf, BLOCK, offset);
}

/* Reads until all of the file is read without a request. */
static void heat(struct ff3fs *c, struct ff3fs_file *f, size_t size)
{
	uint64_t before;
	time_t until = time(NULL) + 40;

	do {
		CHECK(time(NULL) < until);
		before = stats(c).reads;
		for (size_t at = 0; at < size; at += BLOCK)
			read_block(f, at);
	} while (stats(c).reads - before < size / BLOCK);
}

static void say(const char *word)
{
	printf("%s\n", word);
	fflush(stdout);
}

static void listen_for(const char *word)
{
	char line[64] = "";

	CHECK(fgets(line, sizeof line, stdin));
	CHECK(strncmp(line, word, strlen(word)) == 0);
}

/* --- What reads do ---------------------------------------------------------------------------- */

static void unaligned(struct ff3fs_file *f)
{
	static char want[SIZE], got[SIZE];

	stamp(want, SIZE, 0, 1);
	for (int i = 0; i < 3000; i++) {
		size_t at = rnd(SIZE), len = rnd(MIN(SIZE - at, (size_t)20000)) + 1, cut = rnd(len + 1);
		struct iovec iov[] = { { got + at, cut }, { NULL, 0 }, { got + at + cut, len - cut } };

		memset(got + at, 0xee, len);
		if (i % 2)
			EQ(ff3fs_pread(f, got + at, len, (off_t)at), (long long)len);
		else
			EQ(ff3fs_preadv(f, iov, 3, (off_t)at), (long long)len);
		EQ(memcmp(got + at, want + at, len), 0);
	}
}

static void bad_buffers(struct ff3fs_file *f)
{
	char *p = mmap(NULL, 3 * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	OK(mprotect(p, BLOCK, PROT_READ));
	OK(munmap(p + 2 * BLOCK, BLOCK));
	EQ(ff3fs_pread(f, NULL, BLOCK, 0), -EFAULT);
	EQ(ff3fs_pread(f, (void *)8, 100, 0), -EFAULT);
	EQ(ff3fs_pread(f, p, BLOCK, 0), -EFAULT);
	EQ(ff3fs_pread(f, p + BLOCK - 1, 2, 0), -EFAULT);
	EQ(ff3fs_pread(f, p + 2 * BLOCK - 8, 16, 0), -EFAULT);
	EQ(ff3fs_pread(f, p + 2 * BLOCK - 1, 2, 0), -EFAULT);
	/* The last byte, and no more. */
	EQ(ff3fs_pread(f, p + 2 * BLOCK - 1, 1, 0), 1);
	for (size_t len = 1; len < 12; len++) {
		memset(p + BLOCK, 0x77, BLOCK);
		EQ(ff3fs_pread(f, p + BLOCK + 100, len, 0), (long long)len);
		EQ(p[BLOCK + 99], 0x77);
		EQ(p[BLOCK + 100 + len], 0x77);
		EQ(ff3fs_pread(f, p + 2 * BLOCK - len, len, 0), (long long)len);
	}
	munmap(p, 2 * BLOCK);
}

static void batches(struct ff3fs *c, struct ff3fs_file *f)
{
	static char bufs[64][BLOCK];
	struct ff3fs_completion done[64];
	struct ff3fs_batch *b;

	OK(ff3fs_batch_new(c, 64, &b));
	for (int round = 0; round < 20; round++) {
		uint64_t at[64];

		for (uintptr_t i = 0; i < 64; i++) {
			at[i] = rnd(SIZE / BLOCK) * BLOCK;
			OK(ff3fs_batch_read(b, f, bufs[i], BLOCK, (off_t)at[i], (void *)i));
		}
		EQ(ff3fs_batch_submit(b), 64);
		/* Nothing to wait for. */
		EQ(ff3fs_batch_reap(b, done, 64, 64, &(struct timespec){ 0 }), 64);
		for (int i = 0; i < 64; i++) {
			EQ(done[i].result, BLOCK);
			stamped(bufs[(uintptr_t)done[i].user], BLOCK, at[(uintptr_t)done[i].user]);
		}
	}
	ff3fs_batch_free(b);
}

static void in_child(struct ff3fs *c, struct ff3fs_file *f)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		uint64_t before = misses(c);

		for (int i = 0; i < 1000; i++)
			read_block(f, rnd(SIZE / BLOCK) * BLOCK);
		EQ(misses(c), (long long)before);
		_exit(0);
	}
	EQ(waitpid(pid, &status, 0), pid);
	EQ(status, 0);
}

static void *reading(void *arg)
{
	char buf[BLOCK];

	for (uint64_t i = 0, at = 0; i < 20000; i++, at = (at + 5 * BLOCK) % SIZE) {
		EQ(ff3fs_pread(arg, buf, BLOCK, (off_t)at), BLOCK);
		stamped(buf, BLOCK, at);
	}
	return NULL;
}

/* Opened again, it is still mapped. */
static void again(struct ff3fs *c)
{
	struct ff3fs_hot_stats before = stats(c);

	for (int i = 0; i < 100; i++) {
		struct ff3fs_file *f = must_open(c, "reads", O_RDONLY);

		read_block(f, 0);
		OK(ff3fs_close(f));
	}
	EQ(stats(c).reads, (long long)before.reads + 100);
	EQ(stats(c).asked, (long long)before.asked);
}

static void mode_reads(void)
{
	struct ff3fs *c = new_client();
	struct ff3fs_file *f;
	pthread_t threads[4];
	char buf[BLOCK];
	uint64_t before;

	write_round(c, "reads", SIZE, 1);
	f = must_open(c, "reads", O_RDONLY);
	heat(c, f, SIZE);
	say("hot");
	listen_for("go");
	before = misses(c);
	for (int i = 0; i < 20000; i++)
		read_block(f, rnd(SIZE / BLOCK) * BLOCK);
	unaligned(f);
	batches(c, f);
	for (int i = 0; i < 4; i++)
		OK(pthread_create(&threads[i], NULL, reading, f));
	for (int i = 0; i < 4; i++)
		OK(pthread_join(threads[i], NULL));
	EQ(misses(c), (long long)before);
	say("read");
	listen_for("go");
	bad_buffers(f);
	in_child(c, f);
	/* The end of the file, and beyond. */
	EQ(ff3fs_pread(f, buf, BLOCK, SIZE - 100), 100);
	EQ(ff3fs_pread(f, buf, BLOCK, SIZE), 0);
	/* A file that somebody else makes longer. */
	{
		struct ff3fs *d = new_client();
		struct ff3fs_file *g = must_open(d, "reads", O_WRONLY);

		EQ(ff3fs_pwrite(g, "tail", 4, SIZE), 4);
		OK(ff3fs_close(g));
		EQ(ff3fs_pread(f, buf, BLOCK, SIZE - 100), 104);
		EQ(memcmp(buf + 100, "tail", 4), 0);
		ff3fs_free(d);
	}
	heat(c, f, SIZE);
	OK(ff3fs_close(f));
	again(c);
	ff3fs_free(c);
	say("done");
}

/* --- Two clients ------------------------------------------------------------------------------- */

struct shared {
	_Atomic uint32_t acked;
	_Atomic uint64_t reads, hot;
	_Atomic bool stop;
};

static void reader(struct shared *s, const char *name, size_t size)
{
	struct ff3fs *c = new_client();
	struct ff3fs_file *f = must_open(c, name, O_RDONLY);
	uint64_t hot = 0;

	seed = (uint64_t)getpid();
	while (!atomic_load(&s->stop)) {
		uint32_t acked = atomic_load(&s->acked), round;
		uint64_t now;

		round = read_block(f, rnd(size / BLOCK) * BLOCK);
		CHECK(round >= acked);
		now = stats(c).reads;
		atomic_fetch_add(&s->hot, now - hot);
		hot = now;
		atomic_fetch_add(&s->reads, 1);
	}
	EQ(stats(c).checksum, 0);
	OK(ff3fs_close(f));
	ff3fs_free(c);
}

static void mode_coherent(int rounds)
{
	const size_t size = 4 * BLOCK;
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct ff3fs *c = new_client();
	struct ff3fs_file *f;
	pid_t pids[2];
	char buf[4 * BLOCK];
	int status;

	write_round(c, "coherent", size, 0);
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			reader(s, "coherent", size);
			_exit(0);
		}
	}
	f = must_open(c, "coherent", O_RDWR | O_DIRECT);
	for (int round = 1; round <= rounds; round++) {
		uint64_t hot = atomic_load(&s->hot), reads = atomic_load(&s->reads);

		stamp(buf, size, 0, (uint32_t)round);
		EQ(ff3fs_pwrite(f, buf, size, 0), (long long)size);
		if (round % 8 == 0)
			OK(ff3fs_fsync(f));
		atomic_store(&s->acked, (uint32_t)round);
		/* Until both read without requests again; but exposing it may be refused. */
		while (atomic_load(&s->hot) < hot + 20 && atomic_load(&s->reads) < reads + 2000) {
			for (int i = 0; i < 2; i++)
				EQ(waitpid(pids[i], &status, WNOHANG), 0);
			sched_yield();
		}
	}
	atomic_store(&s->stop, true);
	for (int i = 0; i < 2; i++) {
		EQ(waitpid(pids[i], &status, 0), pids[i]);
		EQ(status, 0);
	}
	printf("%d rounds, %llu reads, %llu of them without requests\n", rounds,
	       (unsigned long long)atomic_load(&s->reads), (unsigned long long)atomic_load(&s->hot));
	CHECK(atomic_load(&s->hot) > (uint64_t)rounds * 10);
	OK(ff3fs_close(f));
	ff3fs_free(c);
}

/* --- Rights ------------------------------------------------------------------------------------ */

/* Whoever has the memory can only read it. */
static void sealed(const struct exposed *x)
{
	for (unsigned i = 0; i < x->n; i++) {
		int fd = x->fds[i], rw;
		void *p = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, 0);
		char path[64], byte = 1;

		CHECK(p != MAP_FAILED);
		EQ(mprotect(p, BLOCK, PROT_READ | PROT_WRITE), -1);
		munmap(p, BLOCK);
		EQ(write(fd, &byte, 1), -1);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		rw = open(path, O_RDWR);
		if (rw < 0)
			continue;
		EQ(write(rw, &byte, 1), -1);
		EQ(ftruncate(rw, 0), -1);
		EQ(ftruncate(rw, MIB(1)), -1);
		EQ(fallocate(rw, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK), -1);
		CHECK(mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, rw, 0) == MAP_FAILED);
		close(rw);
	}
}

static void wait_until_gone(const struct ff3_hot_header *h)
{
	for (int i = 0; atomic_load(&h->word) != 0; i++) {
		EQ(i < 20000, 1);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

static void mode_rights(void)
{
	struct ff3fs *c = new_client(), *stranger;
	struct ff3fs_file *f, *g;
	struct ff3_rpc_peer *rpc, *other;
	const struct ff3_hot_header *h;
	struct ff3_route route;
	struct exposed x;
	uint8_t cap[FF3_CAP_MAX], forged[FF3_CAP_MAX];
	uint32_t len;
	uint64_t ino;
	int r;

	write_round(c, "rights", SIZE, 1);
	write_round(c, "other", SIZE, 1);
	f = must_open(c, "rights", O_RDONLY);
	ino = f->inode->ino;
	/* It is signed for who asks for it. */
	EQ(f->inode->hot.cap_len, 0);
	OK(ff3_inode_renew_cap(f->inode));
	len = f->inode->hot.cap_len;
	CHECK(len > 0);
	memcpy(cap, f->inode->hot.cap, len);
	OK(ff3_route_find(c, ff3_inode_chain(f->inode, 0), &route));
	rpc = peer_as(c, &route, c->session);
	other = peer_as(c, &route, c->session + 1);

	/* The daemon learns the keys with its heartbeats. */
	while ((r = expose(rpc, ino, cap, len, &x)) == -EACCES)
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	OK(r);
	EQ(x.n, 2);
	sealed(&x);
	h = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, x.fds[0], 0);
	EQ(h->word, (long long)x.rep.word);
	close(x.fds[0]);
	close(x.fds[1]);

	/* Nothing, something else, somebody else's, another file's. */
	refused(rpc, ino, cap, 0);
	for (uint32_t i = 0; i < len; i += 7) {
		memcpy(forged, cap, len);
		forged[i] ^= 0x10;
		refused(rpc, ino, forged, len);
	}
	refused(other, ino, cap, len);
	g = must_open(c, "other", O_RDONLY);
	refused(rpc, g->inode->ino, cap, len);
	OK(ff3fs_close(g));
	g = must_open(c, "other", O_WRONLY);
	EQ(g->inode->hot.cap_len, 0);
	OK(ff3fs_close(g));
	/* Who may not read it gets no capability, not even by the number of the inode. */
	OK(ff3fs_new_as(NULL, 12345, 12345, NULL, 0, &stranger));
	EQ(ff3fs_open(stranger, FF3FS_ROOT, "rights", O_RDONLY, 0, &g), -EACCES);
	OK(ff3fs_open_inode(stranger, ino, O_RDONLY, &g));
	EQ(g->inode->hot.cap_len, 0);
	OK(ff3fs_close(g));
	ff3fs_free(stranger);

	/* A change of mode: what is exposed goes, and so do older capabilities. */
	EQ(h->word, (long long)x.rep.word);
	OK(ff3fs_chmod(c, FF3FS_ROOT, "rights", 0640, 0));
	wait_until_gone(h);
	refused(rpc, ino, cap, len);
	/* Whoever had it open reads on, and may ask for it again. */
	heat(c, f, SIZE);

	/* Unlinked and closed: the chunk goes, and its memory with it. */
	memcpy(cap, f->inode->hot.cap, len);
	OK(expose(rpc, ino, cap, len, &x));
	munmap((void *)h, BLOCK);
	h = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, x.fds[0], 0);
	EQ(h->word, (long long)x.rep.word);
	OK(ff3fs_unlink(c, FF3FS_ROOT, "rights"));
	read_block(f, 0);
	EQ(h->word, (long long)x.rep.word);
	OK(ff3fs_close(f));
	wait_until_gone(h);
	EQ(expose(rpc, ino, cap, len, &x), -ENOENT);
	ff3_rpc_peer_free(rpc);
	ff3_rpc_peer_free(other);
	ff3fs_free(c);
}

/* --- Killed daemons, tiny budgets ---------------------------------------------------------------- */

/* Reads while the daemon is killed and another one gets new bytes, by another client. */
static void mode_killed(void)
{
	struct ff3fs *c = new_client();
	struct ff3fs_file *f;

	write_round(c, "killed", SIZE, 1);
	f = must_open(c, "killed", O_RDONLY);
	heat(c, f, SIZE);
	say("hot");
	listen_for("go");
	for (int i = 0; i < 1000; i++)
		EQ(read_block(f, rnd(SIZE / BLOCK) * BLOCK), 2);
	CHECK(stats(c).dead > 0);
	/* And the new one's chunks are exposed again. */
	heat(c, f, SIZE);
	EQ(read_block(f, 0), 2);
	OK(ff3fs_close(f));
	ff3fs_free(c);
	say("done");
}

/* Who reads a file that becomes hot does not wait for a metad that does not answer. */
static void mode_silent(void)
{
	struct ff3fs *c = new_client();
	struct ff3fs_file *f;

	write_round(c, "silent", SIZE, 1);
	f = must_open(c, "silent", O_RDONLY);
	say("open");
	listen_for("go");
	for (int i = 0; i < 1000; i++)
		EQ(read_block(f, rnd(SIZE / BLOCK) * BLOCK), 1);
	EQ(f->inode->hot.cap_len, 0);
	say("read");
	listen_for("go");
	heat(c, f, SIZE);
	OK(ff3fs_close(f));
	ff3fs_free(c);
	say("done");
}

/* A daemon that is restarted after the last read by request, and before it is asked to expose the chunk: it
 * has not the bytes that another client holds and has yet to send again. */
static void mode_held(void)
{
	struct ff3fs *c = new_client(), *holder = new_client();
	static char buf[SIZE];
	struct ff3fs_file *f, *g;
	uint64_t before;

	write_round(c, "held", SIZE, 1);
	f = must_open(c, "held", O_RDONLY);
	g = must_open(holder, "held", O_WRONLY | O_DIRECT);
	stamp(buf, SIZE, 0, 2);
	EQ(ff3fs_pwrite(g, buf, SIZE, 0), SIZE);
	EQ(read_block(f, 0), 2);
	EQ(stats(c).asked, 0);
	say("held");
	listen_for("go");
	while (stats(c).mapped == 0)
		ff3_hot_heat(f->inode, SIZE, 0);
	before = stats(c).reads;
	EQ(read_block(f, 0), 2);
	CHECK(stats(c).reads > before);
	OK(ff3fs_close(g));
	OK(ff3fs_close(f));
	ff3fs_free(holder);
	ff3fs_free(c);
	say("done");
}

static void mode_forever(void)
{
	struct ff3fs *c = new_client();
	struct ff3fs_file *f;

	write_round(c, "forever", SIZE, 1);
	f = must_open(c, "forever", O_RDONLY);
	heat(c, f, SIZE);
	say("hot");
	for (;;)
		read_block(f, rnd(SIZE / BLOCK) * BLOCK);
}

struct storm {
	struct ff3fs_file *f;
	size_t size;
	long n;
};

static void *storming(void *arg)
{
	struct storm *s = arg;

	seed = (uintptr_t)&seed;
	for (long i = 0; i < s->n; i++) {
		/* A few chunks often, others now and then, and ever others. */
		uint64_t chunk = (i / 2000 + rnd(3)) % 16, at = chunk * MIB(1) + rnd(MIB(1) / BLOCK) * BLOCK;

		EQ(read_block(s->f, rnd(10) ? at : rnd(s->size / BLOCK) * BLOCK), 3);
	}
	return NULL;
}

/* Threads read where others map and unmap. */
static void mode_storm(long n)
{
	struct storm storm = { .size = MIB(16), .n = n / 3 };
	struct ff3fs *c = new_client();
	struct ff3fs_hot_stats s;
	pthread_t threads[3];

	write_round(c, "storm", storm.size, 3);
	storm.f = must_open(c, "storm", O_RDONLY);
	for (int i = 0; i < 3; i++)
		OK(pthread_create(&threads[i], NULL, storming, &storm));
	for (int i = 0; i < 3; i++)
		OK(pthread_join(threads[i], NULL));
	s = stats(c);
	printf("%ld reads, %llu without requests; %llu asked, %llu refused, %llu gone, %llu wrong\n", n,
	       (unsigned long long)s.reads, (unsigned long long)s.asked, (unsigned long long)s.refused,
	       (unsigned long long)s.gone, (unsigned long long)s.checksum);
	CHECK(s.reads > 0);
	EQ(s.checksum, 0);
	OK(ff3fs_close(storm.f));
	ff3fs_free(c);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? atol(argv[argc - 1]) : 0;

	if (strcmp(mode, "reads") == 0)
		mode_reads();
	else if (strcmp(mode, "coherent") == 0)
		mode_coherent((int)n);
	else if (strcmp(mode, "rights") == 0)
		mode_rights();
	else if (strcmp(mode, "killed") == 0)
		mode_killed();
	else if (strcmp(mode, "silent") == 0)
		mode_silent();
	else if (strcmp(mode, "write") == 0)
		write_round(new_client(), argv[2], SIZE, (uint32_t)n);
	else if (strcmp(mode, "held") == 0)
		mode_held();
	else if (strcmp(mode, "forever") == 0)
		mode_forever();
	else if (strcmp(mode, "storm") == 0)
		mode_storm(n);
	else
		return 2;
	return 0;
}
