/* Purpose: abilities of the kernel that this libfuse is too old to name, set in its messages on
 * their way: shared mappings of files with direct I/O, and writes to one file in parallel. The
 * messages are <linux/fuse.h>'s, which is the kernel's promise.
 *
 * Threads: a reply is written by the thread that made it; init_unique is set before any other runs. */
#include "mount.h"

#include <linux/fuse.h>
#include <sys/uio.h>

#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#endif
#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

static uint64_t init_unique;
static bool offers_mmap;
static __thread bool opens;

void mount_wire_opens(void)
{
	opens = true;
}

static void look_at_init(const void *buf, ssize_t n)
{
	const struct fuse_in_header *h = buf;
	const struct fuse_init_in *in = (const void *)(h + 1);

	if (n < (ssize_t)(sizeof *h + sizeof *in) || h->opcode != FUSE_INIT)
		return;
	init_unique = h->unique;
	offers_mmap = (in->flags & FUSE_INIT_EXT) &&
		      ((uint64_t)in->flags2 << 32 & FUSE_DIRECT_IO_ALLOW_MMAP);
}

static ssize_t wire_read(int fd, void *buf, size_t size, void *userdata)
{
	ssize_t n = read(fd, buf, size);

	if (UNLIKELY(!init_unique))
		look_at_init(buf, n);
	return n;
}

static void patch_init(struct iovec *iov, int count)
{
	struct fuse_init_out *out;

	if (count != 2 || iov[1].iov_len < sizeof *out || !offers_mmap)
		return;
	out = iov[1].iov_base;
	out->flags |= FUSE_INIT_EXT;
	out->flags2 |= (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
}

/* The answer to an open ends with what was opened, that to a create has its attributes before. */
static void patch_open(struct iovec *iov, int count)
{
	struct fuse_open_out *out;

	if (count != 2 || iov[1].iov_len < sizeof *out)
		return; /* an error */
	out = (void *)((char *)iov[1].iov_base + iov[1].iov_len - sizeof *out);
	out->open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *h = iov[0].iov_base;

	if (UNLIKELY(h->unique == init_unique))
		patch_init(iov, count);
	if (opens) {
		opens = false;
		patch_open(iov, count);
	}
	return writev(fd, iov, count);
}

int mount_wire_init(struct fuse_session *se)
{
	static const struct fuse_custom_io io = { .read = wire_read, .writev = wire_writev };

	return fuse_session_custom_io(se, &io, fuse_session_fd(se));
}
