/* Purpose: local sockets whose name lies below a prefix.
 *
 * The kernel binds a socket to an inode of its own file systems only. Here the name is a socket inode
 * at metad, with mode and owner, and the kernel's side is the abstract address
 * "ff3fs/<fsid>/<inode>": it needs no file, ends with the socket, and tells whoever connects
 * afterwards ECONNREFUSED, as a name without a listener does. So a socket is reached from where
 * abstract ones are, its own network namespace; on other hosts the name is there and refuses.
 *
 * Addresses that the kernel gives out are turned back: into exactly what was bound, by the processes
 * that bound it and their forks (`bound`), else into the inode's present path.
 *
 * Threads: `mutex` guards `bound`; a signal handler that finds it taken asks metad.
 * Fork: the list is inherited, the mutex fresh. A vfork child gets EDEADLK. */
#include "hook.h"

#include <stdio.h>
#include <sys/un.h>

#include "raw.h"

#define MARK "ff3fs/"
#define N_BOUND 64

static struct bound {
	uint64_t ino;
	struct sockaddr_un address;
	socklen_t len;
} bound[N_BOUND];
static unsigned n_bound;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void socket_after_fork(void)
{
	pthread_mutex_init(&mutex, NULL);
}

/* --- Names to addresses -------------------------------------------------------------------- */

struct name {
	struct sockaddr_un un;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
};

/* Is it the address of a name of ours? Then it is in *ret. */
static bool name_is_ours(const struct sockaddr *address, socklen_t len, struct name *ret)
{
	if (LIKELY(!init_active() || len <= offsetof(struct sockaddr_un, sun_path) ||
		   len > sizeof ret->un))
		return false;
	memset(ret, 0, sizeof *ret);
	if (!memory_copy_in(&ret->un, address, len) || ret->un.sun_family != AF_UNIX ||
	    !ret->un.sun_path[0])
		return false;
	memcpy(ret->path, ret->un.sun_path, sizeof ret->un.sun_path);
	return where_is_ours(AT_FDCWD, ret->path);
}

static int kernel_address(struct ff3fs *fs, uint64_t ino, struct sockaddr_un *un, socklen_t *len)
{
	uint64_t fsid;
	int r = special_fsid(fs, &fsid), n;

	if (r < 0)
		return r;
	memset(un, 0, sizeof *un);
	un->sun_family = AF_UNIX;
	n = snprintf(un->sun_path + 1, sizeof un->sun_path - 1, MARK "%" PRIx64 "/%" PRIx64, fsid,
		     ino);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	return 0;
}

/* A symbolic link led out of the prefix. */
static int native_address(const char *path, struct sockaddr_un *un, socklen_t *len)
{
	if (strlen(path) >= sizeof un->sun_path)
		return -ENAMETOOLONG;
	memset(un, 0, sizeof *un);
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
	return 0;
}

/* Whom a message or connection to this name goes to. */
static int find_peer(const struct name *name, struct sockaddr_un *un, socklen_t *len)
{
	struct ff3fs_attr a;
	struct where w;
	int r = where_init(&w, AT_FDCWD, name->path, 0);

	if (r == 0)
		return -ENOENT;
	while (r > 0)
		r = where_next(&w, CALL(stat, w.fs, w.dir, w.path, 0, &a));
	if (r < 0)
		return r;
	if (w.native)
		return native_address(w.native, un, len);
	r = CALL(access, w.fs, a.ino, "", W_OK, 0);
	if (r < 0)
		return r;
	if (!S_ISSOCK(a.mode))
		return -ECONNREFUSED;
	return kernel_address(w.fs, a.ino, un, len);
}

/* --- Addresses to names -------------------------------------------------------------------- */

static void remember(uint64_t ino, const struct name *name, socklen_t len)
{
	struct bound *b;

	pthread_mutex_lock(&mutex);
	b = &bound[n_bound++ % N_BOUND];
	b->ino = ino;
	b->address = name->un;
	b->len = len;
	pthread_mutex_unlock(&mutex);
}

static bool recall(uint64_t ino, struct sockaddr_un *un, socklen_t *len)
{
	bool found = false;

	if (pthread_mutex_trylock(&mutex) != 0)
		return false;
	for (unsigned i = 0; i < N_BOUND && !found; i++)
		if (bound[i].ino == ino) {
			*un = bound[i].address;
			*len = bound[i].len;
			found = true;
		}
	pthread_mutex_unlock(&mutex);
	return found;
}

static uint64_t inode_of(const struct sockaddr_un *un, socklen_t len)
{
	size_t n = len - offsetof(struct sockaddr_un, sun_path);
	char text[sizeof un->sun_path + 1] = "", *end;
	uint64_t ino;

	if (len <= offsetof(struct sockaddr_un, sun_path) + sizeof MARK || un->sun_path[0] ||
	    memcmp(un->sun_path + 1, MARK, sizeof MARK - 1) != 0)
		return 0;
	memcpy(text, un->sun_path + sizeof MARK, n - sizeof MARK);
	strtoull(text, &end, 16);
	if (*end != '/')
		return 0;
	ino = strtoull(end + 1, &end, 16);
	return *end ? 0 : ino;
}

/* The kernel has written an address and its full length into the caller's buffer of `size` bytes:
 * makes a name of it if it is one of ours. */
static void name_address(struct sockaddr *address, socklen_t size, socklen_t *len)
{
	struct sockaddr_un un;
	struct ff3fs *fs;
	char path[PATH_MAX];
	socklen_t n = *len;
	uint64_t ino;

	if (LIKELY(!init_active() || !address || n <= sizeof(sa_family_t) || n > sizeof un || n > size) ||
	    !memory_copy_in(&un, address, n) || LIKELY(un.sun_family != AF_UNIX))
		return;
	ino = inode_of(&un, n);
	if (ino == 0)
		return;
	if (!recall(ino, &un, &n)) {
		memset(&un, 0, sizeof un);
		un.sun_family = AF_UNIX;
		n = sizeof(sa_family_t);
		if (core_fs(&fs) == 0 && cwd_path_of(fs, ino, path, sizeof path) == 0)
			native_address(path, &un, &n);
	}
	memory_copy_out(address, &un, MIN(n, size));
	*len = n;
}

/* --- The calls ----------------------------------------------------------------------------- */

static int bind_ours(int fd, const struct name *name, socklen_t user_len)
{
	struct sockaddr_un un;
	struct ff3fs_attr a;
	struct where w;
	socklen_t len;
	int r = where_init(&w, AT_FDCWD, name->path, WHERE_NOFOLLOW);

	if (r == 0)
		return -ENOENT;
	while (r > 0)
		r = where_next(&w, CALL(mknod, w.fs, w.dir, w.path,
					S_IFSOCK | (0777 & ~init_umask()), &a));
	if (r < 0)
		return r == -EEXIST ? -EADDRINUSE : r;
	if (w.native) {
		r = native_address(w.native, &un, &len);
		return r < 0 ? r : REAL(bind)(fd, (struct sockaddr *)&un, len) < 0 ? -errno : 0;
	}
	r = kernel_address(w.fs, a.ino, &un, &len);
	if (r == 0 && REAL(bind)(fd, (struct sockaddr *)&un, len) < 0)
		r = -errno;
	if (r < 0)
		CALL(unlink, w.fs, w.dir, w.path);
	else
		remember(a.ino, name, user_len);
	return r;
}

int hook_bind(int fd, const struct sockaddr *address, socklen_t len)
{
	struct name name;

	if (LIKELY(!name_is_ours(address, len, &name)))
		return REAL(bind)(fd, address, len);
	return (int)hook_result(bind_ours(fd, &name, len));
}

int hook_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	struct sockaddr_un un;
	struct name name;
	int r;

	if (LIKELY(!name_is_ours(address, len, &name)))
		return REAL(connect)(fd, address, len);
	r = find_peer(&name, &un, &len);
	if (r == 0)
		return REAL(connect)(fd, (struct sockaddr *)&un, len);
	errno = -r; /* hook_result has no refused connections */
	return -1;
}

/* Those that send are tried at the kernel first, which does not find our names: so a datagram to
 * elsewhere costs nothing more. */
static bool was_not_found(ssize_t r)
{
	return UNLIKELY(r < 0) && init_active() &&
	       (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED || errno == EACCES);
}

ssize_t hook_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *address,
		    socklen_t len)
{
	ssize_t r = REAL(sendto)(fd, buf, n, flags, address, len);
	struct sockaddr_un un;
	struct name name;
	int saved = errno, found;

	if (LIKELY(!address || !was_not_found(r)) || !name_is_ours(address, len, &name))
		return errno = saved, r;
	found = find_peer(&name, &un, &len);
	if (found == 0)
		return REAL(sendto)(fd, buf, n, flags, (struct sockaddr *)&un, len);
	errno = -found;
	return -1;
}

ssize_t hook_sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t r = REAL(sendmsg)(fd, message, flags);
	struct sockaddr_un un;
	struct msghdr m;
	struct name name;
	int saved = errno, found;

	if (LIKELY(!was_not_found(r)) || !message || !memory_copy_in(&m, message, sizeof m) ||
	    !m.msg_name || !name_is_ours(m.msg_name, m.msg_namelen, &name))
		return errno = saved, r;
	found = find_peer(&name, &un, &m.msg_namelen);
	m.msg_name = &un;
	if (found == 0)
		return REAL(sendmsg)(fd, &m, flags);
	errno = -found;
	return -1;
}

/* What the kernel has filled in. `size` is what *len was before. */
static void name_result(struct sockaddr *address, socklen_t size, socklen_t *len)
{
	int saved = errno;
	socklen_t n;

	if (address && len && memory_copy_in(&n, len, sizeof n)) {
		socklen_t before = n;

		name_address(address, size, &n);
		if (n != before)
			memory_copy_out(len, &n, sizeof n);
	}
	errno = saved;
}

static socklen_t size_of(const socklen_t *len)
{
	socklen_t n = 0;

	if (len)
		memory_copy_in(&n, len, sizeof n);
	return n;
}

/* Calls that give an address: size, the call, and the address made a name. */
#define WITH_ADDRESS(type, call, address, len)                                                     \
	if (LIKELY(!init_active()) || !(address))                                                  \
		return call;                                                                       \
	socklen_t _size = size_of(len);                                                            \
	type _r = call;                                                                            \
	if (_r >= 0)                                                                               \
		name_result(address, _size, len);                                                  \
	return _r

int hook_accept(int fd, struct sockaddr *address, socklen_t *len)
{
	WITH_ADDRESS(int, REAL(accept)(fd, address, len), address, len);
}

int hook_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	WITH_ADDRESS(int, REAL(accept4)(fd, address, len, flags), address, len);
}

int hook_getsockname(int fd, struct sockaddr *address, socklen_t *len)
{
	WITH_ADDRESS(int, REAL(getsockname)(fd, address, len), address, len);
}

int hook_getpeername(int fd, struct sockaddr *address, socklen_t *len)
{
	WITH_ADDRESS(int, REAL(getpeername)(fd, address, len), address, len);
}

/* Datagrams come often: only a program that has made a local socket pays for the look. */
static _Atomic bool uses_local_sockets;

ssize_t hook_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *address,
		      socklen_t *len)
{
	if (LIKELY(!uses_local_sockets))
		return REAL(recvfrom)(fd, buf, n, flags, address, len);
	WITH_ADDRESS(ssize_t, REAL(recvfrom)(fd, buf, n, flags, address, len), address, len);
}

ssize_t hook_recvmsg(int fd, struct msghdr *message, int flags)
{
	socklen_t size = 0;
	ssize_t r;

	if (LIKELY(!uses_local_sockets))
		return REAL(recvmsg)(fd, message, flags);
	if (message) /* which may be a bad pointer */
		memory_copy_in(&size, (const char *)message + offsetof(struct msghdr, msg_namelen), sizeof size);
	r = REAL(recvmsg)(fd, message, flags);
	if (r >= 0 && message->msg_name)
		name_result(message->msg_name, size, &message->msg_namelen);
	return r;
}

static int make_socket(const void *arg)
{
	const int *a = arg;

	return (int)RAW(socket, a[0], a[1], a[2]);
}

int hook_socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol), args[] = { domain, type, protocol };

	if (domain == AF_UNIX && init_active())
		uses_local_sockets = true;
	if (LIKELY(!core_called_from(__builtin_return_address(0))))
		return fd;
	if (fd < 0 && errno == EMFILE)
		return (int)hook_result(fd_beyond(make_socket, args));
	return fd_hide(fd);
}

DEFINE_ALIASES(socket)
