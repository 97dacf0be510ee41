/* Purpose: flock and record locks on our files. This is the half that excludes the processes of one
 * user on one host from each other; then lock_cluster.c excludes everybody else.
 *
 * Every locked inode has empty files of its own in $XDG_RUNTIME_DIR/ff3fs-locks or
 * /dev/shm/ff3fs-locks-<uid> (0700): <fsid>-<inode> for record locks, and the same with an f for flock, because
 * closing any descriptor of the first drops the process's record locks. The kernel's locks on
 * these files are the locks. So they have the kernel's semantics (waiting, EINTR, deadlock detection, ranges, release when a process
 * dies).
 *
 * Gathered writes are sent before a lock is given back: who gets it next reads them.
 *
 * flock and open-file-description locks belong to an open file description: each struct ofd
 * opens the file once and keeps it (lock_fd, range_fd); inherited ones: lock_keeper.c, lock_shared.c. Record locks (F_SETLK)
 * belong to the process; they go through one descriptor per inode and process, and closing any
 * descriptor of the file in the process drops them, as POSIX has it.
 *
 * Threads: `mutex` guards the list of record-locked inodes, and that nobody gets the first record lock of one while
 * range_fd is being opened; waiting for a lock happens outside it.
 * Fork: record locks are not inherited (the kernel's rule); the list's descriptors are closed in
 * the child. An ofd's lock_fd is inherited, and with it the lock, as flock has it. */
#include "hook.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>

#include "raw.h"

struct record {
	struct record *next;
	uint64_t ino;
	int fd;
};

static struct record *records;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void lock_after_fork(void)
{
	pthread_mutex_init(&mutex, NULL);
	for (struct record *r = records; r; r = r->next) {
		fdtab_forget(r->fd);
		raw_close(r->fd);
		r->fd = -1;
	}
}

#define HIGH 512 /* programs find the numbers below as they expect them */
/* A lock that nobody has any more is given back so late at most, unless the machine is overloaded. */
#define PASSING_MS 100

/* Opens it with the lowest number that is free. */
static int open_anywhere(uint64_t ino, const char *suffix)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[PATH_MAX];
	uint64_t fsid;
	size_t n;
	int fd;

	if (special_fsid(core_loaded(), &fsid) < 0)
		return -ENOLCK;

	if (runtime && *runtime == '/' && strlen(runtime) < PATH_MAX - 64 &&
	    RAW(faccessat, AT_FDCWD, runtime, W_OK | X_OK) == 0)
		n = (size_t)snprintf(path, sizeof path, "%s/ff3fs-locks", runtime);
	else
		n = (size_t)snprintf(path, sizeof path, "/dev/shm/ff3fs-locks-%u",
				     (unsigned)RAW(geteuid));
	RAW(mkdirat, AT_FDCWD, path, 0700);
	snprintf(path + n, sizeof path - n, "/%" PRIx64 "-%" PRIx64 "%s", fsid, ino, suffix);
	fd = (int)RAW(openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -ENOLCK : fd;
}

int lock_file_open(uint64_t ino, const char *suffix)
{
	int fd = open_anywhere(ino, suffix), high;

	if (fd < 0)
		return fd;
	high = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, HIGH);
	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	fdtab_set_internal(fd);
	return fd;
}

/* The same for a file of which this process may have record locks: a low descriptor of it that is closed takes
 * them away. So all lower numbers are taken while it is opened. */
static int open_beside_records(struct ofd *o)
{
	int taken[HIGH], n = 0, fd = open_anywhere(o->ino, FLOCK_SUFFIX), high;

	if (fd < 0)
		return fd;
	taken[n++] = fd;
	while (n < HIGH && (high = (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, 0)) >= 0 && high < HIGH)
		taken[n++] = high;
	if (high < 0)
		raw_close(taken[--n]); /* the limit is lower */
	fd = open_anywhere(o->ino, "");
	if (high >= HIGH)
		raw_close(high);
	while (n > 0)
		raw_close(taken[--n]);
	if (fd >= 0)
		fdtab_set_internal(fd);
	return fd;
}

void lock_file_close(int fd)
{
	fdtab_forget(fd);
	raw_close(fd);
}

/* A description's descriptor of the file for flock. */
static int flock_fd(struct ofd *o)
{
	int fd = atomic_load_explicit(&o->lock_fd, memory_order_acquire), none = -1;

	if (fd >= 0)
		return fd;
	fd = lock_file_open(o->ino, FLOCK_SUFFIX);
	if (fd < 0)
		return fd;
	if (atomic_compare_exchange_strong_explicit(&o->lock_fd, &none, fd, memory_order_acq_rel,
						    memory_order_acquire))
		return fd;
	lock_file_close(fd);
	return none;
}

static bool may_have_records(uint64_t ino)
{
	struct record *r = records;

	while (r && r->ino != ino)
		r = r->next;
	return r && r->fd >= 0;
}

/* A descriptor that was got from the keeper, out of the application's way, unless moving it would take record locks
 * away. */
static int hide(int fd, uint64_t ino)
{
	int high = may_have_records(ino) ? -1 : (int)RAW(fcntl, fd, F_DUPFD_CLOEXEC, HIGH);

	if (high >= 0) {
		raw_close(fd);
		fd = high;
	}
	fdtab_set_internal(fd);
	return fd;
}

static int open_ranges(int fd, struct ofd *o)
{
	bool shared = o->opener != (pid_t)RAW(getpid) || o->forks != fd_children();
	struct timespec moment = { .tv_nsec = 1000000 };
	int r, s = -1, lock_fd;

	for (int i = 0; i < 1000; i++) {
		r = lock_shared_join(fd, o);
		if (r >= 0)
			return hide(r, o->ino);
		s = shared ? lock_shared_bind(fd) : -1;
		if (s != -EADDRINUSE)
			break;
		RAW(nanosleep, &moment, NULL);
	}
	lock_fd = may_have_records(o->ino) ? open_beside_records(o) : lock_file_open(o->ino, "");
	if (s >= 0 && lock_fd >= 0)
		lock_shared_start(fd, o, lock_fd, s); /* without a keeper the locks are this process's */
	else if (s >= 0)
		raw_close(s);
	return lock_fd;
}

/* Its descriptor of the file for record locks, for locks of its own. */
static int range_fd(int fd, struct ofd *o)
{
	int lock_fd = atomic_load_explicit(&o->range_fd, memory_order_acquire);

	if (lock_fd >= 0)
		return lock_fd;
	pthread_mutex_lock(&mutex);
	lock_fd = o->range_fd;
	if (lock_fd < 0) {
		lock_fd = open_ranges(fd, o);
		if (lock_fd >= 0)
			atomic_store_explicit(&o->range_fd, lock_fd, memory_order_release);
	}
	pthread_mutex_unlock(&mutex);
	return lock_fd;
}

#define PROCESS 1 /* the owner of F_SETLK's locks; an address is that of F_OFD_SETLK's */

static uint64_t owner_of(const struct ofd *o, bool own)
{
	return own ? (uint64_t)(uintptr_t)o : PROCESS;
}

/* Negative results are of no use to a caller who gives back: the lock ends with our session. */
static void give_back_records(struct ofd *o, bool own)
{
	struct ff3fs_lock all = { .owner = owner_of(o, own), .last = UINT64_MAX,
				  .kind = FF3FS_LOCK_RECORD, .type = FF3FS_LOCK_NONE };
	uint8_t held;

	lock_cluster_set(o, &all, false, &held);
}

void lock_release(struct ofd *o)
{
	int fd = atomic_exchange_explicit(&o->lock_fd, -1, memory_order_acq_rel);
	int range = atomic_exchange_explicit(&o->range_fd, -1, memory_order_acq_rel);

	if (fd < 0 && range < 0)
		return;
	CALL(flush, o->file);
	o->share_id = 0;
	if (range >= 0) {
		lock_file_close(range);
		give_back_records(o, true);
	}
	if (fd >= 0)
		lock_file_close(fd);
	if (atomic_exchange_explicit(&o->flocked, 0, memory_order_acq_rel))
		lock_cluster_clear(o);
}

static int record_fd(uint64_t ino)
{
	struct record *r;
	int fd = -ENOLCK;

	pthread_mutex_lock(&mutex);
	for (r = records; r && r->ino != ino; r = r->next)
		;
	if (!r) {
		r = malloc(sizeof *r);
		if (r) {
			*r = (struct record){ records, ino, -1 };
			records = r;
		}
	}
	if (r && r->fd < 0)
		r->fd = lock_file_open(ino, "");
	if (r)
		fd = r->fd;
	pthread_mutex_unlock(&mutex);
	return fd;
}

/* A descriptor of this file is closed: the process's record locks on it go. */
void lock_fd_closed(struct ofd *o)
{
	struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	bool had = false;

	if (!__atomic_load_n(&records, __ATOMIC_RELAXED) || !o->file)
		return;
	CALL(flush, o->file);
	pthread_mutex_lock(&mutex);
	for (struct record *r = records; r; r = r->next)
		if (r->ino == o->ino && r->fd >= 0) {
			RAW(fcntl, r->fd, F_SETLK, &all);
			had = true;
		}
	pthread_mutex_unlock(&mutex);
	if (had)
		give_back_records(o, false);
}

void lock_exit(void)
{
	if (!core_loaded() || init_is_vfork_child())
		return;
	for (int fd = 0; (fd = fdtab_next_ours(fd, INT32_MAX)) >= 0; fd++) {
		_cleanup_ofd_ struct ofd *o = NULL;

		if (fdtab_get(fd, &o) > 0 && o->file) {
			lock_fd_closed(o);
			lock_release(o);
		}
	}
}

/* What is marked close-on-exec goes by itself. */
void lock_exec(void)
{
	if (!core_loaded() || init_is_vfork_child())
		return;
	for (int fd = 0; (fd = fdtab_next_ours(fd, INT32_MAX)) >= 0; fd++) {
		_cleanup_ofd_ struct ofd *o = NULL;
		int type, s;

		if (fdtab_get(fd, &o) <= 0 || (o->lock_fd < 0 && o->range_fd < 0) ||
		    (RAW(fcntl, fd, F_GETFD) & FD_CLOEXEC))
			continue;
		type = o->flocked;
		if (type && o->lock_fd >= 0)
			keeper_start(fd, o, o->lock_fd, type);
		if (o->range_fd >= 0 && !o->share_id && (s = lock_shared_bind(fd)) >= 0)
			lock_shared_start(fd, o, o->range_fd, s);
	}
}

/* The caller's range from the beginning of the file: the lock file has neither our offset nor our
 * size. */
static int absolute(int fd, struct ofd *o, struct flock *fl)
{
	struct ff3fs_attr a;
	off_t base = 0;
	int r;

	if (fl->l_whence == SEEK_CUR) {
		base = (off_t)RAW(lseek, fd, 0, SEEK_CUR);
	} else if (fl->l_whence == SEEK_END) {
		r = stat_ofd(o, &a);
		if (r < 0)
			return r;
		base = (off_t)a.size;
	} else if (fl->l_whence != SEEK_SET) {
		return -EINVAL;
	}
	fl->l_whence = SEEK_SET;
	return __builtin_add_overflow(fl->l_start, base, &fl->l_start) ? -EOVERFLOW : 0;
}

static struct ff3fs_lock record_of(const struct ofd *o, const struct flock *fl, bool own)
{
	uint64_t start = (uint64_t)fl->l_start, first = start, last = UINT64_MAX;

	if (fl->l_len > 0)
		last = start + (uint64_t)fl->l_len - 1;
	else if (fl->l_len < 0)
		first = start + (uint64_t)fl->l_len, last = start - 1;
	return (struct ff3fs_lock){
		.owner = owner_of(o, own),
		.first = first,
		.last = last,
		.kind = FF3FS_LOCK_RECORD,
		.type = fl->l_type == F_WRLCK ? FF3FS_LOCK_EXCLUSIVE :
			fl->l_type == F_RDLCK ? FF3FS_LOCK_SHARED :
						FF3FS_LOCK_NONE,
	};
}

static short type_of(uint8_t type)
{
	return type == FF3FS_LOCK_EXCLUSIVE ? F_WRLCK : type == FF3FS_LOCK_SHARED ? F_RDLCK : F_UNLCK;
}

/* The kernel has granted it on this host. */
static int set_cluster(struct ofd *o, const struct flock *fl, bool own, int cmd, int lock_fd)
{
	struct ff3fs_lock lock = record_of(o, fl, own);
	bool wait = cmd == F_SETLKW || cmd == F_OFD_SETLKW;
	struct flock before = *fl;
	uint8_t held = FF3FS_LOCK_NONE;
	int r = lock_cluster_set(o, &lock, wait, &held);

	if (r < 0 && fl->l_type == F_UNLCK)
		return 0;
	if (r < 0) {
		before.l_type = type_of(held);
		RAW(fcntl, lock_fd, own ? F_OFD_SETLK : F_SETLK, &before);
	}
	return r;
}

/* Nobody on this host is in the way of want. */
static int query_cluster(struct ofd *o, const struct flock *want, bool own, struct flock *ret)
{
	struct ff3fs_lock lock = record_of(o, want, own);
	int r = lock_cluster_test(o, &lock);

	if (r <= 0)
		return r;
	ret->l_type = type_of(lock.type);
	ret->l_whence = SEEK_SET;
	ret->l_start = (off_t)lock.first;
	ret->l_len = lock.last >= INT64_MAX ? 0 : (off_t)(lock.last - lock.first + 1);
	ret->l_pid = -1; /* a process of another host */
	return 0;
}

int lock_fcntl(int fd, struct ofd *o, int cmd, struct flock *user)
{
	bool own = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
	bool query = cmd == F_GETLK || cmd == F_OFD_GETLK;
	int mode = o->flags & O_ACCMODE, lock_fd, r;
	struct timespec moment = { .tv_nsec = 1000000 };
	struct flock fl, want;

	if (!memory_copy_in(&fl, user, sizeof fl))
		return -EFAULT;
	if (!query && ((fl.l_type == F_RDLCK && mode == O_WRONLY) ||
		       (fl.l_type == F_WRLCK && mode == O_RDONLY)))
		return -EBADF;
	r = absolute(fd, o, &fl);
	if (r < 0)
		return r;
	lock_fd = own ? range_fd(fd, o) : record_fd(o->ino);
	if (lock_fd < 0)
		return lock_fd;
	/* through libc: waiting is a cancellation point, and a signal interrupts it */
	if (fl.l_type == F_UNLCK)
		CALL(flush, o->file);
	want = fl;
	r = REAL(fcntl)(lock_fd, cmd, &fl) < 0 ? -errno : 0;
	for (int i = 0; i < PASSING_MS && (query ? r == 0 && fl.l_type != F_UNLCK : r == -EAGAIN) && lock_shared_passing(o);
	     i++) {
		RAW(nanosleep, &moment, NULL);
		fl = want;
		r = (int)RAW(fcntl, lock_fd, cmd, &fl);
	}
	if (r == 0 && query && fl.l_type == F_UNLCK)
		r = query_cluster(o, &want, own, &fl);
	else if (r == 0 && !query)
		r = set_cluster(o, &want, own, cmd, lock_fd);
	if (r == 0 && query && !memory_copy_out(user, &fl, sizeof fl))
		return -EFAULT;
	return r;
}

/* flock(2) on this host. A keeper, or who gives back (lock_cluster_clear), may have a lock that nobody
 * has any more: for a moment, and marked. */
static int flock_here(int lock_fd, int operation)
{
	struct timespec moment = { .tv_nsec = 1000000 };
	int r = REAL(flock)(lock_fd, operation) < 0 ? -errno : 0;

	for (int i = 0; i < PASSING_MS && r == -EWOULDBLOCK && lock_is_passing(lock_fd); i++) {
		RAW(nanosleep, &moment, NULL);
		r = (int)RAW(flock, lock_fd, operation);
	}
	return r;
}

/* flock(2) through a descriptor of the lock file that shares its description with nobody else's. */
static int flock_through(struct ofd *o, int lock_fd, int operation)
{
	int type = operation & ~LOCK_NB;
	struct ff3fs_lock lock = { .kind = FF3FS_LOCK_FLOCK, .last = UINT64_MAX,
				   .type = type == LOCK_EX ? FF3FS_LOCK_EXCLUSIVE :
							     FF3FS_LOCK_SHARED };
	uint8_t held = FF3FS_LOCK_NONE;
	int r = flock_here(lock_fd, operation);

	if (r < 0)
		return r;
	if (type == LOCK_UN) {
		o->flocked = 0;
		lock_cluster_clear(o);
		return 0;
	}
	r = lock_cluster_set(o, &lock, !(operation & LOCK_NB), &held);
	if (r < 0 && held == FF3FS_LOCK_NONE)
		RAW(flock, lock_fd, LOCK_UN);
	else if (r < 0)
		RAW(flock, lock_fd, held == FF3FS_LOCK_SHARED ? LOCK_SH : LOCK_EX);
	else
		o->flocked = type;
	return r;
}

/* On a description that this process opened. Children may have locked it too. */
static int flock_own(int fd, struct ofd *o, int operation)
{
	int lock_fd = flock_fd(o);

	if (lock_fd < 0)
		return lock_fd;
	if (operation & LOCK_UN)
		keeper_release(fd);
	return flock_through(o, lock_fd, operation);
}

/* On one that somebody else opened: the lock must not end with this process. */
static int flock_inherited(int fd, struct ofd *o, int operation)
{
	int inherited = atomic_load_explicit(&o->lock_fd, memory_order_acquire), lock_fd, r;

	if (inherited >= 0) /* by fork, with the opener's lock descriptor: shared as it should be */
		return flock_through(o, inherited, operation);
	if (operation & LOCK_UN) {
		keeper_release(fd);
		lock_cluster_clear(o);
		return 0;
	}
	lock_fd = lock_file_open(o->ino, FLOCK_SUFFIX);
	if (lock_fd < 0)
		return lock_fd;
	/* As flock(2): converting is unlocking, then locking. */
	keeper_release(fd);
	r = flock_through(o, lock_fd, operation);
	if (r == 0)
		r = keeper_start(fd, o, lock_fd, operation & ~LOCK_NB);
	o->flocked = 0; /* the keeper's, not ours to give back */
	lock_file_close(lock_fd);
	return r;
}

int hook_flock(int fd, int operation)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o);

	if (LIKELY(r == 0) || (operation & LOCK_MAND)) /* the kernel takes no notice of that one */
		return REAL(flock)(fd, operation);
	if (r > 0 && (operation & ~LOCK_NB) != LOCK_SH && (operation & ~LOCK_NB) != LOCK_EX &&
	    (operation & ~LOCK_NB) != LOCK_UN)
		r = -EINVAL;
	if (r > 0 && !o->file)
		r = -EBADF;
	if (r > 0 && (operation & LOCK_UN))
		CALL(flush, o->file);
	if (r > 0 && o->opener != (pid_t)RAW(getpid))
		r = flock_inherited(fd, o, operation);
	else if (r > 0)
		r = flock_own(fd, o, operation);
	return (int)hook_result(r);
}

int hook_lockf(int fd, int command, off_t len)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_len = len };
	int r;

	if (LIKELY(!fdtab_is_ours(fd)))
		return REAL(lockf)(fd, command, len);
	switch (command) {
	case F_TEST:
		fl.l_type = F_RDLCK;
		r = hook_fcntl(fd, F_GETLK, &fl);
		if (r < 0 || fl.l_type == F_UNLCK || fl.l_pid == (pid_t)RAW(getpid))
			return r;
		return (int)hook_result(-EACCES);
	case F_ULOCK:
		fl.l_type = F_UNLCK;
		return hook_fcntl(fd, F_SETLK, &fl);
	case F_LOCK:
		return hook_fcntl(fd, F_SETLKW, &fl);
	case F_TLOCK:
		return hook_fcntl(fd, F_SETLK, &fl);
	}
	return (int)hook_result(-EINVAL);
}

DEFINE_ALIASES(lock)
