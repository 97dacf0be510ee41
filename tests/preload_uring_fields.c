/* Each operation with each field wrong in turn: what a field that means nothing to it, or a value that
 * none has, comes to. One entry at a time, so that the completion is the answer to that. */
#include "preload_uring.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

static char buf[8192], text[] = "some bytes";
static int file, pipe_fd[2], number;
static struct iovec vector = { buf, 16 };
static struct { uint64_t flags, mode, resolve; } how;
static struct statx sx;

/* A name that no other entry uses. */
static const char *name(void)
{
	static char text[16];

	snprintf(text, sizeof text, "n%d", number);
	return text;
}

static void on_file(struct io_uring_sqe *s, int which)
{
	switch (which) {
	case 0: io_uring_prep_read(s, file, buf, 16, 0); break;
	case 1: io_uring_prep_write(s, file, text, 4, 0); break;
	case 2: io_uring_prep_readv(s, file, &vector, 1, 0); break;
	case 3: io_uring_prep_writev(s, file, &vector, 1, 0); break;
	case 4: io_uring_prep_read_fixed(s, file, buf, 16, 0, 0); break;
	case 5: io_uring_prep_write_fixed(s, file, buf, 16, 0, 0); break;
	case 6: io_uring_prep_fsync(s, file, 0); break;
	case 7: io_uring_prep_sync_file_range(s, file, 4, 0, 0); break;
	case 8: io_uring_prep_fallocate(s, file, 0, 0, 100); break;
	case 9: io_uring_prep_fadvise(s, file, 0, 4, 0); break;
	case 10: s->opcode = 55 /* FTRUNCATE */, s->fd = file, s->off = 50; break;
	case 11: io_uring_prep_fsetxattr(s, file, "user.a", "v", 0, 1); break;
	case 12: io_uring_prep_fgetxattr(s, file, "user.a", buf, 8); break;
	case 13: io_uring_prep_splice(s, file, 0, pipe_fd[1], -1, 4, 0); break;
	case 14: io_uring_prep_tee(s, file, pipe_fd[1], 4, 0); break;
	}
}

static void on_name(struct io_uring_sqe *s, int which)
{
	switch (which) {
	case 15: io_uring_prep_openat(s, AT_FDCWD, "f", O_RDONLY, 0); break;
	case 16: io_uring_prep_openat2(s, AT_FDCWD, "f", (struct open_how *)&how); break;
	case 17: io_uring_prep_statx(s, AT_FDCWD, "f", 0, STATX_BASIC_STATS, &sx); break;
	case 18: io_uring_prep_unlinkat(s, AT_FDCWD, "none", 0); break;
	case 19: io_uring_prep_mkdirat(s, AT_FDCWD, name(), 0755); break;
	case 20: io_uring_prep_symlinkat(s, "target", AT_FDCWD, name()); break;
	case 21: io_uring_prep_renameat(s, AT_FDCWD, "none", AT_FDCWD, name(), 0); break;
	case 22: io_uring_prep_linkat(s, AT_FDCWD, "f", AT_FDCWD, name(), 0); break;
	case 23: io_uring_prep_setxattr(s, "user.b", "v", "f", 0, 1); break;
	case 24: io_uring_prep_getxattr(s, "user.b", buf, "f", 8); break;
	case 25: io_uring_prep_close(s, dup(file)); break;
	}
}

static const char *const operations[] = {
	"read",	     "write",	  "readv",    "writev",	   "read_fixed", "write_fixed", "fsync",
	"sync_file_range", "fallocate", "fadvise", "ftruncate", "fsetxattr", "fgetxattr", "splice",
	"tee",	     "openat",	  "openat2",  "statx",	   "unlinkat",	 "mkdirat",	"symlinkat",
	"renameat",  "linkat",	  "setxattr", "getxattr",  "close",
};
#define N_OPERATIONS ((int)(sizeof operations / sizeof *operations))

/* To these the last field means something, in kernels since 6.14. */
static bool uring_rw(const struct io_uring_sqe *s)
{
	return s->opcode == IORING_OP_READ || s->opcode == IORING_OP_WRITE || s->opcode == IORING_OP_READV ||
	       s->opcode == IORING_OP_WRITEV || s->opcode == IORING_OP_READ_FIXED ||
	       s->opcode == IORING_OP_WRITE_FIXED;
}

/* What is wrong, or NULL when there are no more. What the kernel would take for a file or a moment of the
 * test's own is left out. */
static const char *spoil(struct io_uring_sqe *s, int k)
{
	switch (k) {
	case 0: return "nothing";
	case 1: return s->ioprio = 0x7777, "ioprio";
	case 2: return s->buf_index = 77, "buf_index";
	case 3: return s->personality = 99, "personality";
	case 4: return s->opcode == IORING_OP_SPLICE || s->opcode == IORING_OP_TEE ? "nothing" :
		       (s->splice_fd_in = 7, "splice_fd_in");
	case 5: return s->addr3 = 1, "addr3";
	case 6: return s->opcode == IORING_OP_WRITE ? "nothing" : /* how much there is behind it is chance */
		       (s->len = 0xffffffffu, "len");
	case 7: return s->len = 0, "no len";
	case 8: return s->off = (uint64_t)-2, "off -2";
	case 9: return s->off = INT64_MAX, "off max";
	case 10: return s->off = 1ull << 63, "off min";
	case 11: return s->addr = 1, "addr";
	case 12: return s->addr = 0, "no addr";
	case 13: return s->addr = 0xffff800000000000ull, "kernel addr";
	case 14: return s->rw_flags = 0x8000, "a flag";
	case 15: return s->rw_flags = -1, "all flags";
	case 16: return s->flags |= 1 << 7, "an unknown flag";
	case 17: return s->flags |= IOSQE_FIXED_FILE, "a fixed file";
	case 18: return s->flags |= IOSQE_ASYNC, "async";
	case 19: return s->fd = 9999, "fd";
	case 20: return s->fd = -1, "fd -1";
	case 21: return s->opcode == IORING_OP_READ || s->opcode == IORING_OP_READV || s->opcode == IORING_OP_READ_FIXED ?
			"nothing" : (s->fd = pipe_fd[0], "a pipe"); /* they would wait */
	case 22: return s->addr2 = 1, "addr2";
	case 23: return uring_rw(s) ? "nothing" : (s->__pad2[0] = 1, "the last field");
	}
	return NULL;
}

static void one(struct io_uring *ring, int which, int k)
{
	struct io_uring_sqe *s = sqe_get(ring);
	struct iovec same = { buf, 16 };
	const char *what;
	char c[64];
	int r;

	number++;
	vector = same;
	memset(&how, 0, sizeof how);
	on_file(s, which);
	on_name(s, which);
	what = spoil(s, k);
	s->user_data = 1;
	r = ring_submit(ring, 1);
	if (r != 1) {
		printf("%s, %s: not taken: %d\n", operations[which], what, r);
		return;
	}
	r = result(ring);
	if (r >= 0 && (which == 15 || which == 16)) {
		close(r);
		r = 0;
	}
	while (read(pipe_fd[0], c, sizeof c) > 0)
		;
	/* One that is not registered, or any; what older kernels did not look at. */
	if (k == 3 || (which == 6 && (k == 8 || k == 10)))
		printf("%s, %s: %s\n", operations[which], what, r < 0 || k > 3 ? "refused" : "taken");
	else
		printf("%s, %s: %s\n", operations[which], what, errno_name(r));
	if (which == 8 && r == 0)
		ftruncate(file, 100);
}

void fields(void)
{
	struct io_uring_sqe none = { 0 };
	struct io_uring ring;

	file = open("f", O_RDWR | O_CREAT | O_TRUNC, 0644);
	CHECK(file >= 0 && pipe2(pipe_fd, O_NONBLOCK) == 0 && write(file, text, sizeof text) > 0);
	fsetxattr(file, "user.a", "value", 5, 0);
	ring_flags(&ring, 8, IORING_SETUP_SUBMIT_ALL);
	for (int which = 0; which < N_OPERATIONS; which++)
		for (int k = 0; spoil(&none, k); k++)
			one(&ring, which, k);
	ring_close(&ring);
}
