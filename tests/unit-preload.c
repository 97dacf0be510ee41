/* The shim's own parts, without a cluster: prefixes, placeholders, the descriptor table. The hooks
 * are linked in, so that this program is one that runs with the shim. */
#include <check.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../preload/async.h"
#include "../preload/hook.h"
#include "../preload/raw.h"

/* --- Prefixes ------------------------------------------------------------------------------ */

static const struct {
	const char *path;
	enum prefix_kind kind;
	const char *rest;
} paths[] = {
	{ "/ff3fs", PREFIX_INSIDE, "" },
	{ "/ff3fs/", PREFIX_INSIDE, "/" },
	{ "/ff3fs/a/b", PREFIX_INSIDE, "/a/b" },
	{ "/ff3fs/..", PREFIX_INSIDE, "/.." }, /* the core says where that leads */
	{ "//ff3fs/a", PREFIX_INSIDE, "a" },
	{ "/./ff3fs//a", PREFIX_INSIDE, "a" },
	{ "/mnt//data/./set/x", PREFIX_INSIDE, "x" },
	{ "/mnt/data/set", PREFIX_INSIDE, "" },
	{ "/ff3fsx", PREFIX_OUTSIDE, NULL },
	{ "/ff3f", PREFIX_OUTSIDE, NULL },
	{ "/mnt/data", PREFIX_OUTSIDE, NULL },
	{ "/mnt/data/sets", PREFIX_OUTSIDE, NULL },
	{ "/", PREFIX_OUTSIDE, NULL },
	{ "/usr/lib/../lib/x", PREFIX_OUTSIDE, NULL },
	{ "/usr/../ff3fs/x", PREFIX_RELATIVE, NULL },
	{ "/dev/stdin", PREFIX_SPECIAL, NULL },
	{ "/proc/self/fd/3", PREFIX_SPECIAL, NULL },
	{ "", PREFIX_OUTSIDE, NULL },
	{ "a/b", PREFIX_OUTSIDE, NULL },
	{ "ff3fs/x", PREFIX_RELATIVE, NULL },
	{ "./ff3fs", PREFIX_RELATIVE, NULL },
	{ ".//data/x", PREFIX_RELATIVE, NULL },
	{ "../x", PREFIX_RELATIVE, NULL },
	{ "a/../../x", PREFIX_RELATIVE, NULL },
	{ "..a/b", PREFIX_OUTSIDE, NULL },
	{ "a..", PREFIX_OUTSIDE, NULL },
	{ "...", PREFIX_OUTSIDE, NULL },
};

START_TEST(prefix_of)
{
	const char *rest;
	int index;

	ck_assert_int_eq(prefix_set("/ff3fs:/mnt/data/set/:relative::/"), 2);
	ck_assert_str_eq(prefix_text(0), "/ff3fs");
	ck_assert_str_eq(prefix_text(1), "/mnt/data/set");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		rest = NULL;
		ck_assert_msg(prefix_classify(paths[i].path, &rest, &index) == paths[i].kind, "%s",
			      paths[i].path);
		if (paths[i].rest)
			ck_assert_str_eq(rest, paths[i].rest);
	}
	ck_assert_int_eq(prefix_set(""), 0);
	ck_assert_int_eq(prefix_set(NULL), 0);
	ck_assert_int_eq(prefix_classify("/ff3fs/x", &rest, &index), PREFIX_OUTSIDE);
}
END_TEST

START_TEST(normalize)
{
	static const char *const rows[][3] = {
		{ "/", "a", "/a" },	     { "/x/y", "../a", "/x/a" },
		{ "/x", "../../..", "/" },   { "/x/", "./a//b/.", "/x/a/b" },
		{ "/x", "/y/../z", "/z" },   { "/", "/", "/" },
		{ "/x/y", "..", "/x" },      { "/x/y", "a/..", "/x/y" },
	};
	char out[PATH_MAX], longer[PATH_MAX + 8];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		ck_assert_int_eq(prefix_normalize(rows[i][0], rows[i][1], out), 0);
		ck_assert_str_eq(out, rows[i][2]);
	}
	memset(longer, 'a', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	ck_assert_int_eq(prefix_normalize("/", longer, out), -ENAMETOOLONG);
}
END_TEST

START_TEST(bad_pointers)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static char many[64 * 4096];
	const char *rest;
	char buf[8];
	int index;

	ck_assert_int_eq(prefix_set("/ff3fs"), 1);
	ck_assert_int_eq(prefix_classify(NULL, &rest, &index), PREFIX_FAULT);
	ck_assert_int_eq(prefix_classify((const char *)-1, &rest, &index), PREFIX_FAULT);
	mprotect(page + 4096, 4096, PROT_NONE);
	ck_assert_int_eq(prefix_classify(page + 4096, &rest, &index), PREFIX_FAULT);
	/* a string that runs into unreadable memory, and one that ends just before it */
	memset(page, 'a', 4096);
	ck_assert_int_eq(prefix_classify(page + 4000, &rest, &index), PREFIX_FAULT);
	ck_assert_int_eq(prefix_classify(page, &rest, &index), PREFIX_FAULT); /* no end in PATH_MAX */
	memcpy(page + 4096 - 9, "/ff3fs/x", 9);
	ck_assert_int_eq(prefix_classify(page + 4096 - 9, &rest, &index), PREFIX_INSIDE);
	memcpy(page + 4096 - 2, ".", 2);
	ck_assert_int_eq(prefix_classify(page + 4096 - 2, &rest, &index), PREFIX_OUTSIDE);
	ck_assert(!memory_copy_out(page + 4092, "12345678", 8));
	ck_assert(!memory_copy_in(buf, page + 4092, 8));
	ck_assert(memory_copy_out(page + 4088, "12345678", 8));
	ck_assert(!memory_copy_out(NULL, "1", 1));
	/* Whichever pages were looked at before. */
	for (int i = 0; i < 64; i++)
		ck_assert(memory_readable(many + i * 4096));
	ck_assert(!memory_readable(NULL) && !memory_readable((void *)8));
	munmap(page, 8192);
	ck_assert_int_eq(prefix_classify(page, &rest, &index), PREFIX_FAULT);
}
END_TEST

/* --- Placeholders -------------------------------------------------------------------------- */

static int new_placeholder(uint64_t ino, int flags)
{
	struct placeholder p = { ino, 7, flags };
	int fd = placeholder_new(&p);

	ck_assert_int_ge(fd, 0);
	return fd;
}

START_TEST(placeholder_carries)
{
	struct placeholder p = { 0 };
	int lowest = (int)RAW(dup, 1), fd, other;

	raw_close(lowest);
	fd = new_placeholder(0xfedcba9876543210, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(fd, lowest);
	ck_assert_int_eq(placeholder_probe(fd, &p), 1);
	ck_assert_uint_eq(p.ino, 0xfedcba9876543210);
	ck_assert_uint_eq(p.generation, 7);
	ck_assert_int_eq(p.flags, O_RDWR | O_APPEND);
	ck_assert_int_eq(RAW(fcntl, fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(RAW(fcntl, fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	/* the offset is the kernel's: shared by a copy, and by a child */
	ck_assert_int_eq(RAW(lseek, fd, 1l << 40, SEEK_SET), 1l << 40);
	other = (int)RAW(dup, fd);
	ck_assert_int_eq(RAW(lseek, other, 5, SEEK_CUR), (1l << 40) + 5);
	ck_assert_int_eq(placeholder_probe(other, &p), 1);
	raw_close(other);
	raw_close(fd);
	ck_assert_int_eq(placeholder_probe(fd, &p), -EBADF);
	ck_assert_int_eq(placeholder_probe(0, &p), 0);
	/* another program's sealed memfd is not ours */
	fd = (int)RAW(memfd_create, "ff3fs-other", 2);
	RAW(fcntl, fd, F_ADD_SEALS, 15);
	ck_assert_int_eq(placeholder_probe(fd, &p), 0);
	raw_close(fd);
}
END_TEST

static long uring_read(int fd, void *buf, unsigned n)
{
	struct io_uring_params p = { 0 };
	int ring = (int)RAW(io_uring_setup, 4, &p);
	char *sq, *cq;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	long r;

	if (ring < 0)
		return -EBADF; /* none here */
	sq = (char *)RAW(mmap, 0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED,
			 ring, IORING_OFF_SQ_RING);
	cq = (char *)RAW(mmap, 0, p.cq_off.cqes + p.cq_entries * sizeof *cqe, PROT_READ | PROT_WRITE,
			 MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqe = (struct io_uring_sqe *)RAW(mmap, 0, p.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE,
					 MAP_SHARED, ring, IORING_OFF_SQES);
	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = IORING_OP_READ;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)buf;
	sqe->len = n;
	*(unsigned *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	ck_assert_int_eq(RAW(io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0), 1);
	cqe = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	r = cqe->res;
	raw_close(ring);
	return r;
}

static long aio_read_one(int fd, void *buf, size_t n)
{
	struct {
		uint64_t data;
		uint32_t key, rw_flags;
		uint16_t opcode;
		int16_t prio;
		uint32_t fd;
		uint64_t buf, len;
		int64_t offset;
		uint64_t reserved;
		uint32_t flags, resfd;
	} cb = { .opcode = 0, .fd = (uint32_t)fd, .buf = (uintptr_t)buf, .len = n }, *list = &cb;
	unsigned long context = 0;
	long r = RAW(io_setup, 1, &context);

	if (r < 0)
		return -EBADF;
	r = RAW(io_submit, context, 1, &list);
	RAW(io_destroy, context);
	return r;
}

/* Whatever does not go through a hook fails; above all, nothing reads zeros. */
START_TEST(placeholder_fails_closed)
{
	int fd = new_placeholder(42, O_RDWR), null = (int)RAW(openat, AT_FDCWD, "/dev/null", O_RDWR);
	int pipes[2], file = (int)RAW(memfd_create, "x", 0);
	char buf[64], path[64];
	off_t zero = 0;

	ck_assert_int_eq(RAW(pipe2, pipes, 0), 0);
	RAW(lseek, fd, 0, SEEK_SET);
	ck_assert_int_eq(RAW(read, fd, buf, 64), -EBADF);
	ck_assert_int_eq(RAW(pread64, fd, buf, 64, 0), -EBADF);
	ck_assert_int_eq(RAW(write, fd, buf, 64), -EPERM);
	ck_assert_int_eq(RAW(pwrite64, fd, buf, 64, 0), -EPERM);
	ck_assert_int_lt(RAW(ftruncate, fd, 4096), 0);
	ck_assert_int_lt(RAW(fallocate, fd, 0, 0, 4096), 0);
	ck_assert_int_eq(RAW(mmap, 0, 4096, PROT_READ, MAP_PRIVATE, fd, 0), -EACCES);
	ck_assert_int_eq(RAW(mmap, 0, 4096, PROT_READ, MAP_SHARED, fd, 0), -EACCES);
	ck_assert_int_eq(RAW(sendfile, null, fd, &zero, 64), -EBADF);
	ck_assert_int_eq(RAW(splice, fd, &zero, pipes[1], 0, 64, 0), -EBADF);
	ck_assert_int_eq(RAW(copy_file_range, fd, &zero, file, 0, 64, 0), -EBADF);
	ck_assert_int_eq(uring_read(fd, buf, 64), -EBADF);
	ck_assert_int_eq(aio_read_one(fd, buf, 64), -EBADF);
	ck_assert_int_lt(RAW(getdents64, fd, buf, 64), 0);
	ck_assert_int_lt(RAW(openat, fd, "x", O_RDONLY), 0);
	if (RAW(geteuid) != 0) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ck_assert_int_eq(RAW(openat, AT_FDCWD, path, O_RDONLY), -EACCES);
	}
	raw_close(fd);
	raw_close(null);
	raw_close(file);
	raw_close(pipes[0]);
	raw_close(pipes[1]);
}
END_TEST

START_TEST(cwd_names)
{
	char name[64], link[128];
	uint64_t ino = 0;

	placeholder_cwd_name(0x123456789abc, 0xdead, name);
	snprintf(link, sizeof link, "/dev/shm/%s (deleted)", name);
	ck_assert(placeholder_cwd_parse(link, &ino));
	ck_assert_uint_eq(ino, 0x123456789abc);
	ck_assert(!placeholder_cwd_parse("/tmp/gone (deleted)", &ino));
	ck_assert(!placeholder_cwd_parse("/tmp/ff3fs-cwd:zz:1 (deleted)", &ino));
}
END_TEST

/* --- The descriptor table ------------------------------------------------------------------ */

/* A description that needs no core: O_PATH has no open file behind it. */
static struct ofd *path_ofd(uint64_t ino)
{
	struct placeholder p = { ino, 0, O_PATH };
	struct ofd *o = ofd_new(&p, NULL, getpid());

	ck_assert_ptr_nonnull(o);
	return o;
}

START_TEST(table)
{
	struct ofd *o = path_ofd(9), *got = NULL;
	int fd = new_placeholder(9, O_PATH), copy, far = 5000;

	fdtab_set(fd, o);
	ofd_unref(o);
	ck_assert_int_eq(fdtab_get(fd, &got), 1);
	ck_assert_ptr_eq(got, o);
	ofd_unref(got);
	copy = hook_dup(fd);
	ck_assert_int_eq(fdtab_get(copy, &got), 1);
	ck_assert_ptr_eq(got, o);
	ofd_unref(got);
	ck_assert_uint_eq(o->slots, 2);
	ck_assert_int_eq(hook_dup2(fd, far), far);
	ck_assert(fdtab_is_ours(far));
	ck_assert_int_eq(fdtab_next_ours(far - 10, far + 10), far);
	/* another file takes the number over */
	ck_assert_int_eq(hook_dup2(1, far), far);
	ck_assert(!fdtab_is_ours(far));
	ck_assert_uint_eq(o->slots, 2);
	ck_assert_int_eq(hook_close(copy), 0);
	ck_assert_int_eq(hook_close(fd), 0);
	ck_assert_uint_eq(o->slots, 0);
	ck_assert_int_eq(hook_close(fd), -1);
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(fdtab_get(fd, &got), 0);
	ck_assert_int_eq(hook_close(far), 0);
}
END_TEST

START_TEST(table_internal)
{
	int fd = (int)RAW(fcntl, 1, F_DUPFD, 300);

	fdtab_set_internal(fd);
	ck_assert_int_eq(hook_close(fd), -1); /* not the program's to close */
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(hook_close_range((unsigned)fd - 5, (unsigned)fd + 5, 0), 0);
	hook_closefrom(fd - 5);
	ck_assert_int_ge(RAW(fcntl, fd, F_GETFD), 0);
	fdtab_forget(fd);
	raw_close(fd);
}
END_TEST

static _Atomic bool stop;
static int raced_fd;

static void *reader(void *arg)
{
	uint64_t *seen = arg;
	struct ofd *o;

	while (!stop)
		if (fdtab_get(raced_fd, &o) > 0) {
			*seen += o->ino == 77 && o->refs > 0;
			if (o->ino != 77)
				abort();
			ofd_unref(o);
		}
	return NULL;
}

/* Descriptors are closed and opened while others use them: no description is freed in use. */
START_TEST(table_races)
{
	pthread_t threads[4];
	uint64_t seen[4] = { 0 };

	raced_fd = new_placeholder(77, O_PATH);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader, &seen[i]), 0);
	for (int i = 0; i < 20000; i++) {
		struct ofd *o = path_ofd(77), *taken;

		fdtab_set(raced_fd, o);
		ofd_unref(o);
		if (i % 2 && fdtab_take(raced_fd, &taken) > 0) {
			ofd_close(taken);
			fdtab_set_native(raced_fd);
		}
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	raw_close(raced_fd);
}
END_TEST

/* A vfork child closes and moves what it likes; its parent's table stays. */
START_TEST(vfork_child)
{
	struct ofd *o = path_ofd(5);
	int fd = new_placeholder(5, O_PATH), status;
	pid_t child;

	fdtab_set(fd, o);
	ofd_unref(o);
	for (int i = 0; i < 200; i++) {
		child = vfork();
		if (child == 0) {
			hook_dup2(1, fd);
			hook_close(fd);
			hook_dup2(fd, 1);
			RAW(exit_group, 0);
		}
		ck_assert_int_gt(child, 0);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert(fdtab_is_ours(fd));
		ck_assert_uint_eq(o->slots, 1);
	}
	ck_assert_int_eq(hook_close(fd), 0);
}
END_TEST

/* --- The engine of asynchronous calls ------------------------------------------------------ */

#define N_OPS 500

static struct {
	struct async_op op;
	_Atomic int n_calls, n_done;
	long result;
	bool masked, elsewhere;
} async_jobs[N_OPS];
static _Atomic int async_left;
static pthread_t async_submitter;

static long async_job(struct async_op *op)
{
	long i = (long)((char *)op - (char *)async_jobs) / (long)sizeof async_jobs[0];

	async_jobs[i].n_calls++;
	return i % 3 ? i : i ? -ECONNRESET : -ENOSPC;
}

static void async_job_done(struct async_op *op, long result)
{
	long i = (long)((char *)op - (char *)async_jobs) / (long)sizeof async_jobs[0];
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	async_jobs[i].masked = sigismember(&now, SIGALRM) && sigismember(&now, SIGSEGV);
	async_jobs[i].elsewhere = !pthread_equal(pthread_self(), async_submitter);
	async_jobs[i].result = result;
	async_jobs[i].n_done++;
	async_left--;
}

static int async_round(void)
{
	struct async_op *ops[N_OPS];
	int bad = 0;

	memset(async_jobs, 0, sizeof async_jobs);
	async_submitter = pthread_self();
	async_left = N_OPS;
	for (int i = 0; i < N_OPS; i++) {
		ops[i] = &async_jobs[i].op;
		ops[i]->kind = ASYNC_CALL;
		ops[i]->call = async_job;
		ops[i]->done = async_job_done;
	}
	if (async_submit(ops, N_OPS) != 0)
		return -1;
	while (async_left > 0)
		sched_yield();
	for (int i = 0; i < N_OPS; i++) {
		long want = i % 3 ? i : i ? -EIO : -ENOSPC;

		bad += async_jobs[i].n_done != 1 || async_jobs[i].result != want ||
		       async_jobs[i].n_calls != 1 || !async_jobs[i].masked ||
		       !async_jobs[i].elsewhere;
	}
	return bad;
}

START_TEST(async_engine)
{
	int status;
	pid_t child;

	ck_assert_int_eq(async_round(), 0);
	ck_assert_int_eq(async_round(), 0);
	child = fork(); /* the engine's threads are not in it, and start anew */
	if (child == 0)
		_exit(async_round() != 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(async_round(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("preload");
	TCase *c = tcase_create("preload");
	SRunner *r;
	int failed;

	if (!init_enabled) { /* the constructor looks at the environment */
		setenv("FF3FS_PREFIX", "/ff3fs", 1);
		execv("/proc/self/exe", (char *[]){ (char *)"unit-preload", NULL });
		return 99;
	}
	tcase_add_test(c, prefix_of);
	tcase_add_test(c, normalize);
	tcase_add_test(c, bad_pointers);
	tcase_add_test(c, placeholder_carries);
	tcase_add_test(c, placeholder_fails_closed);
	tcase_add_test(c, cwd_names);
	tcase_add_test(c, table);
	tcase_add_test(c, table_internal);
	tcase_add_test(c, table_races);
	tcase_add_test(c, vfork_child);
	tcase_add_test(c, async_engine);
	suite_add_tcase(s, c);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
