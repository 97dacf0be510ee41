/* Purpose: what a waiting system call points to: strings and structs in another process, and which
 * path of ours they name.
 *
 * Another thread of the program may change a path after it was read here. Then the kernel, if the
 * answer is to go on, uses the newer one, as it might have without us. Nothing here guards secrets.
 *
 * Threads: any; no state. */
#include "notify.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "../common/base/cwd_name.h"

#define PAGE 4096u

bool notify_valid(const struct seccomp_notif *n)
{
	uint64_t id = n->id;

	return ioctl(notify.listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

int notify_get(const struct seccomp_notif *n, uint64_t address, void *out, size_t size)
{
	struct iovec to = { out, size }, from = { (void *)(uintptr_t)address, size };
	ssize_t got = process_vm_readv((pid_t)n->pid, &to, 1, &from, 1, 0);

	return got == (ssize_t)size ? 0 : -EFAULT;
}

int notify_put(const struct seccomp_notif *n, uint64_t address, const void *data, size_t size)
{
	struct iovec from = { (void *)(uintptr_t)data, size };
	struct iovec to = { (void *)(uintptr_t)address, size };

	if (!notify_valid(n))
		return -EINTR;
	return process_vm_writev((pid_t)n->pid, &from, 1, &to, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

/* Page by page: the one behind the string may not be there. */
int notify_get_string(const struct seccomp_notif *n, uint64_t address, char out[PATH_MAX])
{
	size_t have = 0;

	while (have < PATH_MAX) {
		size_t len = MIN((size_t)(PAGE - (address + have) % PAGE), PATH_MAX - have);

		if (notify_get(n, address + have, out + have, len) < 0)
			return -EFAULT;
		if (memchr(out + have, '\0', len))
			return 0;
		have += len;
	}
	return -ENAMETOOLONG;
}

/* --- Descriptors --------------------------------------------------------------------------- */

static ssize_t read_proc_link(const struct seccomp_notif *n, int fd, char out[PATH_MAX])
{
	char link[64];
	ssize_t len;

	if (fd == AT_FDCWD)
		snprintf(link, sizeof link, "/proc/%u/cwd", n->pid);
	else
		snprintf(link, sizeof link, "/proc/%u/fd/%d", n->pid, fd);
	len = readlink(link, out, PATH_MAX - 1);
	if (len >= 0)
		out[len] = '\0';
	return len;
}

/* The inode in a stand-in's name. */
static uint64_t ino_of_link(const char *link, bool file)
{
	const char *s = strrchr(link, '/');
	uint64_t ino = 0;

	if (!s || !strstr(s, " (deleted)"))
		return 0;
	s++;
	if (strncmp(s, FF3_CWD_NAME, strlen(FF3_CWD_NAME)) == 0)
		ino = strtoull(s + strlen(FF3_CWD_NAME), NULL, 16);
	else if (file && strncmp(link, "/memfd:" NOTIFY_FILE_NAME,
				 strlen("/memfd:" NOTIFY_FILE_NAME)) == 0)
		ino = strtoull(link + strlen("/memfd:" NOTIFY_FILE_NAME), NULL, 16);
	return ino;
}

uint64_t notify_fd_ino(const struct seccomp_notif *n, int fd, bool file)
{
	char link[PATH_MAX];
	uint64_t ino = fd == AT_FDCWD ? notify_cwd_get(n) : 0;

	if (ino || read_proc_link(n, fd, link) < 0)
		return ino;
	return ino_of_link(link, file);
}

/* --- Paths --------------------------------------------------------------------------------- */

/* What follows a prefix in path, or NULL. */
static const char *below_prefix(const char *path)
{
	for (const char *p = notify.prefix; *p;) {
		size_t n = strcspn(p, ":"), len = n;

		while (len > 0 && p[len - 1] == '/')
			len--;
		if (len > 0 && strncmp(path, p, len) == 0 && (path[len] == '/' || !path[len]))
			return path + len;
		p += n + (p[n] == ':');
	}
	return NULL;
}

/* base/path without empty, "." and ".." components. */
static int normalize(const char *base, const char *path, char out[PATH_MAX])
{
	const char *parts[2] = { path[0] == '/' ? "" : base, path };
	size_t n = 0;

	for (int i = 0; i < 2; i++)
		for (const char *p = parts[i]; *p;) {
			size_t len = strcspn(p, "/");

			if (len == 2 && p[0] == '.' && p[1] == '.') {
				while (n > 0 && out[--n] != '/')
					;
			} else if (len > 0 && !(len == 1 && p[0] == '.')) {
				if (n + len + 2 > PATH_MAX)
					return -ENAMETOOLONG;
				out[n++] = '/';
				memcpy(out + n, p, len);
				n += len;
			}
			p += len + (p[len] == '/');
		}
	out[n] = '\0';
	return 0;
}

static int set(struct notify_call *c, uint64_t dir, const char *path)
{
	memmove(c->buf, path, strlen(path) + 1);
	c->dir = dir;
	c->path = c->buf;
	c->native = NULL;
	return 1;
}

static int resolve_absolute(struct notify_call *c, const char *base, const char *path)
{
	char normal[PATH_MAX];
	const char *rest = path[0] == '/' ? below_prefix(path) : NULL;

	/* What follows keeps its dots: they go by directories, not by text. */
	if (rest)
		return set(c, FF3FS_ROOT, rest);
	if (path[0] == '/' && !strstr(path, "//") && !strstr(path, "/."))
		return 0;
	if (normalize(base, path, normal) < 0)
		return 0;
	rest = below_prefix(normal);
	return rest ? set(c, FF3FS_ROOT, rest) : 0;
}

int notify_resolve(struct notify_call *c, int dirfd, uint64_t address, bool empty)
{
	char path[PATH_MAX], link[PATH_MAX];
	uint64_t ino;

	c->hops = 0;
	c->dirfd = dirfd;
	if (address == 0 && empty)
		path[0] = '\0'; /* statx takes no name for an empty one */
	else if (notify_get_string(c->n, address, path) < 0)
		return 0; /* the kernel says EFAULT or ENAMETOOLONG */
	if (!notify_valid(c->n))
		return 0;
	if (path[0] == '/')
		return resolve_absolute(c, "", path);
	ino = notify_fd_ino(c->n, dirfd, empty && !*path);
	if (ino)
		return *path || empty ? set(c, ino, path) : -ENOENT;
	if (!*path || read_proc_link(c->n, dirfd, link) < 0 || link[0] != '/')
		return 0;
	return resolve_absolute(c, link, path);
}

bool notify_again(struct notify_call *c, long r)
{
	char to[PATH_MAX], base[PATH_MAX];
	const char *rest;

	if (r != -FF3FS_REDIRECT || ++c->hops > 40)
		return false;
	if (strlen(ff3fs_redirect()) >= sizeof to)
		return false;
	strcpy(to, ff3fs_redirect());
	strcpy(base, notify.first);
	*strrchr(base, '/') = '\0';
	rest = to[0] == '/' ? below_prefix(to) : NULL;
	if (rest)
		return set(c, FF3FS_ROOT, rest);
	if (normalize(base, to, c->buf) < 0)
		return false;
	rest = below_prefix(c->buf);
	if (rest)
		return set(c, FF3FS_ROOT, rest);
	c->native = *c->buf ? c->buf : "/";
	return false;
}
