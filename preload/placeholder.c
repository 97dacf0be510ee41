/* Purpose: the descriptor an application holds for a file of ours. It is a real one, so that dup,
 * fork, exec, close-on-exec, select and the shared file offset are the kernel's own; and it fails
 * closed: whatever call we do not see (io_uring, an inline system call, a static child) gets EBADF
 * or EPERM, never zeros.
 *
 * Format: a memfd named "ff3fs:<fsid>:<inode>:<generation>:<flags>" (hexadecimal; fsid 0: the one
 * of the configuration), empty, sealed against writing, growing and shrinking, reopened write-only,
 * mode 0. So: read, pread, mmap, sendfile, splice, io_uring read and aio read: EBADF or EACCES;
 * write: EPERM; reopening by /proc/self/fd: EACCES unless root. lseek moves its offset, which is
 * the file's. An exec'ed or forked process finds the name by /proc/self/fd and adopts the file.
 *
 * Threads: no state. Fork/signal: callable anywhere. */
#include "placeholder.h"

#include <linux/memfd.h>
#include <stdio.h>

#include "../common/base/cwd_name.h"
#include "raw.h"

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

#define NAME "ff3fs:"

static char *put_hex(char *p, uint64_t v)
{
	int shift = 60;

	while (shift > 0 && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[v >> shift & 15];
	return p;
}

/* Reads a hexadecimal number and the character end after it. NULL if it is something else. */
static const char *get_hex(const char *p, uint64_t *ret, char end)
{
	uint64_t v = 0;
	const char *begin = p;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uint64_t)(*p - 'a' + 10);
		else
			break;
	}
	if (p == begin || p - begin > 16 || *p != end)
		return NULL;
	*ret = v;
	return p + 1;
}

static void fd_path(char out[32], int fd)
{
	char digits[12];
	int n = 0;
	char *p = stpcpy(out, "/proc/self/fd/");

	do
		digits[n++] = (char)('0' + fd % 10);
	while (fd /= 10);
	while (n > 0)
		*p++ = digits[--n];
	*p = '\0';
}

int placeholder_new(const struct placeholder *p)
{
	char name[80], path[32], *end = stpcpy(name, NAME "0:");
	int fd, writer, r;

	end = put_hex(end, p->ino);
	*end++ = ':';
	end = put_hex(end, p->generation);
	*end++ = ':';
	end = put_hex(end, (uint32_t)(p->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC)));
	*end = '\0';
	/* The memfd takes the number the application gets; the write-only one replaces it. */
	fd = (int)RAW(memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fd;
	fd_path(path, fd);
	writer = raw_open(path, O_WRONLY | O_CLOEXEC | (p->flags & (O_APPEND | O_NONBLOCK)));
	if (writer < 0) {
		raw_close(fd);
		return writer == -ENOENT ? -EIO : writer;
	}
	r = (int)RAW(fchmod, fd, 0);
	if (r >= 0)
		r = (int)RAW(fcntl, fd, F_ADD_SEALS, SEALS);
	if (r >= 0)
		r = (int)RAW(dup3, writer, fd, p->flags & O_CLOEXEC);
	raw_close(writer);
	if (r < 0)
		raw_close(fd);
	return r < 0 ? r : fd;
}

int placeholder_probe(int fd, struct placeholder *ret)
{
	char path[32], link[160];
	struct placeholder p;
	uint64_t fsid, flags;
	const char *s;
	long seals = RAW(fcntl, fd, F_GET_SEALS), n;

	if (seals == -EBADF)
		return -EBADF;
	if (seals < 0 || (seals & SEALS) != SEALS)
		return 0;
	fd_path(path, fd);
	n = RAW(readlinkat, AT_FDCWD, path, link, sizeof link - 1);
	if (n <= 0)
		return -EBADF; /* closed since */
	link[n] = '\0';
	if (strncmp(link, "/memfd:" NAME, strlen("/memfd:" NAME)) != 0)
		return 0;
	s = get_hex(link + strlen("/memfd:" NAME), &fsid, ':');
	if (s)
		s = get_hex(s, &p.ino, ':');
	if (s)
		s = get_hex(s, &p.generation, ':');
	if (s)
		s = get_hex(s, &flags, ' '); /* " (deleted)" follows */
	if (!s)
		return 0;
	p.flags = (int)flags;
	*ret = p;
	return 1;
}

void placeholder_cwd_name(uint64_t ino, unsigned unique, char out[64])
{
	char *end = put_hex(stpcpy(out, FF3_CWD_NAME), ino);

	*end++ = ':';
	end = put_hex(end, unique);
	*end = '\0';
}

bool placeholder_cwd_parse(const char *link, uint64_t *ret_ino)
{
	const char *s = strrchr(link, '/');
	uint64_t ino, unique;

	if (!s || strncmp(s + 1, FF3_CWD_NAME, strlen(FF3_CWD_NAME)) != 0)
		return false;
	s = get_hex(s + 1 + strlen(FF3_CWD_NAME), &ino, ':');
	if (!s || !get_hex(s, &unique, ' '))
		return false;
	*ret_ino = ino;
	return true;
}
