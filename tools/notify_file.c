/* Purpose: the descriptors that the supervisor gives away. A file is read whole into a memfd, which
 * is sealed and opened again for reading; its name tells the inode. A directory is stood for by an empty,
 * removed one of the machine's, whose name tells the inode too (cwd_name.h); its offset is the cookie
 * where its listing goes on, so seeking and rewinding are the kernel's, and nothing is remembered
 * here for it but a few listings that are being read.
 *
 * Threads: any; `lock` guards the listings that wait to go on. */
#include "notify.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../common/base/cwd_name.h"
#include "cli.h"

#define PIECE (16ul << 20)

/* --- Files --------------------------------------------------------------------------------- */

static void say_too_large(const struct ff3fs_attr *a)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	char path[PATH_MAX], size[32], max[32];

	if (atomic_flag_test_and_set(&said))
		return;
	if (ff3fs_get_path(notify.fs, a->ino, path, sizeof path) < 0)
		strcpy(path, "/?");
	cli_message("%s%s: %s is more than FF3FS_NOTIFY_MAX (%s); ff3fs-mount serves files of any size",
		    notify.first, path, cli_iec(size, (double)a->size),
		    cli_iec(max, (double)notify.max_file));
}

static int fill(int fd, struct ff3fs_file *file, uint64_t size)
{
	uint64_t done = 0;
	ssize_t n = 0;
	char *m;

	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	if (size == 0)
		return 0;
	m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		return -errno;
	while (done < size) {
		n = ff3fs_pread(file, m + done, MIN(size - done, PIECE), (off_t)done);
		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	munmap(m, size);
	if (n < 0)
		return (int)n;
	/* It was cut meanwhile: what is missing must not be zeros. */
	return done < size && ftruncate(fd, (off_t)done) < 0 ? -errno : 0;
}

/* What fstat shows also where we are not asked. */
static void dress(int fd, const struct ff3fs_attr *a)
{
	struct timespec times[2] = { a->atime, a->mtime };

	if (futimens(fd, times) < 0 || fchmod(fd, a->mode & 0777) < 0)
		cli_verbose("%s", strerror(errno));
}

static int sealed_memfd(struct ff3fs_file *file, const struct ff3fs_attr *a, int flags)
{
	_cleanup_(ff3_closep) int fd = -1;
	char name[64];
	int r;

	snprintf(name, sizeof name, NOTIFY_FILE_NAME "%" PRIx64, a->ino);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = file ? fill(fd, file, a->size) : 0;
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
		r = -errno;
	if (r < 0)
		return r;
	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	/* The kernel does not pass on O_PATH descriptors: one that cannot be read does as well. */
	r = open(name, (flags & O_PATH ? O_WRONLY : O_RDONLY) | O_CLOEXEC | (flags & O_NONBLOCK));
	if (r < 0)
		return -errno;
	dress(fd, a);
	return r;
}

int notify_open_file(const struct ff3fs_attr *found, int flags)
{
	struct ff3fs_attr a = *found;
	struct ff3fs_file *file;
	int r;

	if (flags & O_PATH)
		return sealed_memfd(NULL, &a, flags);
	r = ff3fs_open(notify.fs, a.ino, "", O_RDONLY, 0, &file);
	if (r < 0)
		return r;
	r = ff3fs_fstat(file, &a);
	if (r == 0 && a.size > notify.max_file) {
		say_too_large(&a);
		r = -EFBIG;
	}
	if (r == 0)
		r = sealed_memfd(file, &a, flags);
	ff3fs_close(file);
	return r;
}

/* --- Directories --------------------------------------------------------------------------- */

int notify_open_dir(uint64_t ino, int flags)
{
	static const char *const bases[] = { "/dev/shm", "/run", "/tmp", "/var/tmp" };
	static atomic_uint counter;
	int fd = -EACCES;

	for (size_t i = 0; i < ARRAY_SIZE(bases) && fd < 0; i++) {
		char path[128];

		snprintf(path, sizeof path, "%s/" FF3_CWD_NAME "%" PRIx64 ":%x", bases[i], ino,
			 (unsigned)getpid() << 12 ^ atomic_fetch_add(&counter, 1));
		if (mkdir(path, 0700) < 0)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (flags & O_NONBLOCK));
		rmdir(path);
		/* Not every file system lets a directory's offset be anything. */
		if (fd >= 0 &&
		    (lseek(fd, INT64_MAX / 2, SEEK_SET) < 0 || lseek(fd, 0, SEEK_SET) < 0)) {
			close(fd);
			fd = -EACCES;
		}
	}
	return fd < 0 ? -EACCES : fd;
}

/* A listing that stands behind the entry `at`. */
struct listing {
	uint64_t ino, at;
	struct ff3fs_dir *d;
	const struct ff3fs_dirent *ahead;
};

static struct listing waiting[16];
static unsigned turn;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int take_listing(uint64_t ino, uint64_t at, struct listing *ret)
{
	int r;

	*ret = (struct listing){ .ino = ino, .at = at };
	pthread_mutex_lock(&lock);
	for (size_t i = 0; at && i < ARRAY_SIZE(waiting) && !ret->d; i++)
		if (waiting[i].d && waiting[i].ino == ino && waiting[i].at == at) {
			*ret = waiting[i];
			waiting[i].d = NULL;
		}
	pthread_mutex_unlock(&lock);
	if (ret->d)
		return 0;
	r = ff3fs_opendir(notify.fs, ino, "", 0, &ret->d);
	if (r == 0 && at)
		ff3fs_seekdir(ret->d, at);
	return r;
}

static void put_listing(const struct listing *l)
{
	struct ff3fs_dir *old;

	pthread_mutex_lock(&lock);
	turn = (turn + 1) % ARRAY_SIZE(waiting);
	old = waiting[turn].d;
	waiting[turn] = *l;
	pthread_mutex_unlock(&lock);
	ff3fs_closedir(old);
}

struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* Adds l->ahead. 0: no room. */
static size_t add(char *buf, size_t room, const struct ff3fs_dirent *e)
{
	struct entry *out = (struct entry *)buf;
	size_t len = ROUND_UP(offsetof(struct entry, name) + strlen(e->name) + 1, 8);

	if (len > room)
		return 0;
	memset(buf, 0, len);
	out->ino = e->ino;
	out->off = (int64_t)e->cookie;
	out->reclen = (uint16_t)len;
	out->type = (uint8_t)e->type;
	strcpy(out->name, e->name);
	return len;
}

static long list(struct listing *l, char *buf, size_t size)
{
	size_t n = 0, len;
	int r = 1;

	while ((r = l->ahead ? 1 : ff3fs_readdir(l->d, &l->ahead)) > 0) {
		len = add(buf + n, size - n, l->ahead);
		if (len == 0)
			break;
		n += len;
		l->at = l->ahead->cookie;
		l->ahead = NULL;
	}
	if (n > 0)
		return (long)n;
	return r > 0 ? -EINVAL : r;
}

/* The caller's own description, for its offset. */
static int borrow_fd(const struct seccomp_notif *n, int fd)
{
	char path[64], line[256];
	_cleanup_(ff3_closep) int process = -1;
	int tgid = 0, r;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%u/status", n->pid);
	f = fopen(path, "re");
	while (f && tgid == 0 && fgets(line, sizeof line, f))
		if (sscanf(line, "Tgid: %d", &tgid) == 1)
			break;
	if (f)
		fclose(f);
	process = tgid > 0 ? (int)syscall(SYS_pidfd_open, tgid, 0) : -1;
	if (process < 0)
		return -ESRCH;
	r = (int)syscall(SYS_pidfd_getfd, process, fd, 0);
	return r < 0 ? -errno : r;
}

long notify_getdents(const struct seccomp_notif *n, uint64_t ino)
{
	size_t size = MIN((size_t)n->data.args[2], (size_t)65536);
	_cleanup_free_ char *buf = malloc(MAX(size, 1u));
	_cleanup_(ff3_closep) int fd = borrow_fd(n, (int)n->data.args[0]);
	struct listing l;
	off_t at;
	long r;

	if (fd < 0 || !buf)
		return fd < 0 ? fd : -ENOMEM;
	at = lseek(fd, 0, SEEK_CUR);
	if (at < 0)
		return -errno;
	r = take_listing(ino, (uint64_t)at, &l);
	if (r < 0)
		return r;
	r = list(&l, buf, size);
	if (r > 0) {
		int put = notify_put(n, n->data.args[1], buf, (size_t)r);

		if (put == 0 && lseek(fd, (off_t)l.at, SEEK_SET) < 0)
			put = -EIO;
		r = put < 0 ? put : r;
	}
	if (r > 0)
		put_listing(&l);
	else
		ff3fs_closedir(l.d);
	return r;
}
