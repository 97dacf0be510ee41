/* Purpose: flock and fcntl locks through ff3fs-mount. The metadata server decides, so they exclude
 * each other on this mount, on others, and through the shim. There each owner (the kernel's number
 * for a process's files, or for an open file) is a domain of his own.
 *
 * Who waits for a lock has a thread that asks again, at most every 100 ms: it must not keep a
 * worker from the one who will give it back. Deadlocks between processes are not found (EDEADLK).
 *
 * The kernel does not tell of a close but by flush and release: `held` remembers which owners have
 * locks to be dropped then. Threads: `lock` guards it. */
#include "mount.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>

#define WAIT_FIRST_NS 2000000L
#define WAIT_MAX_NS 100000000L

struct held {
	struct held *next;
	uint64_t ino, owner;
	uint8_t kind;
};

static struct held *held;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t mount_id;
static pthread_once_t mount_id_once = PTHREAD_ONCE_INIT;

static void make_mount_id(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	mount_id = ((uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec) * 0x9e3779b97f4a7c15ull ^
		   (uint64_t)getpid();
}

static uint64_t domain_of(uint64_t owner)
{
	uint64_t d;

	pthread_once(&mount_id_once, make_mount_id);
	d = (mount_id ^ owner) * 0xff51afd7ed558ccdull;
	return d ? d : 1;
}

static bool remember(uint64_t ino, uint64_t owner, uint8_t kind)
{
	struct held *h;

	pthread_mutex_lock(&lock);
	for (h = held; h; h = h->next)
		if (h->ino == ino && h->owner == owner && h->kind == kind)
			break;
	if (!h && (h = malloc(sizeof *h))) {
		*h = (struct held){ held, ino, owner, kind };
		held = h;
	}
	pthread_mutex_unlock(&lock);
	return h;
}

static bool forget(uint64_t ino, uint64_t owner, uint8_t kind)
{
	struct held **p, *h = NULL;

	if (!__atomic_load_n(&held, __ATOMIC_ACQUIRE))
		return false;
	pthread_mutex_lock(&lock);
	for (p = &held; *p; p = &(*p)->next)
		if ((*p)->ino == ino && (*p)->owner == owner && (*p)->kind == kind) {
			h = *p;
			*p = h->next;
			break;
		}
	pthread_mutex_unlock(&lock);
	free(h);
	return h;
}

static int ask(struct ff3fs_file *file, struct ff3fs_lock *l, int test, struct ff3fs_lock *ret)
{
	int r = ff3fs_lock(file, l, test, ret);

	return r < 0 && r != -EAGAIN && r != -EDEADLK ? -ENOLCK : r;
}

void mount_lock_closed(struct ff3fs_file *file, uint64_t ino, uint64_t owner, int kind)
{
	struct ff3fs_lock none = { .domain = domain_of(owner), .owner = owner, .last = UINT64_MAX,
				   .kind = (uint8_t)kind, .type = FF3FS_LOCK_NONE };

	if (forget(ino, owner, (uint8_t)kind))
		ask(file, &none, false, NULL);
}

/* --- Waiting ------------------------------------------------------------------------------- */

struct waiter {
	fuse_req_t req;
	struct ff3fs_file *file;
	struct ff3fs_lock lock;
};

static void *wait_for_lock(void *arg)
{
	struct waiter *w = arg;
	struct timespec pause = { 0, WAIT_FIRST_NS };
	int r;

	do {
		nanosleep(&pause, NULL);
		pause.tv_nsec = MIN(pause.tv_nsec * 2, WAIT_MAX_NS);
		r = fuse_req_interrupted(w->req) ? -EINTR : ask(w->file, &w->lock, false, NULL);
	} while (r == -EAGAIN);
	ff3fs_close(w->file);
	mount_reply(w->req, r);
	free(w);
	return NULL;
}

static int start_waiting(fuse_req_t req, struct ff3fs_file *file, const struct ff3fs_lock *l)
{
	struct waiter *w = malloc(sizeof *w);
	pthread_t t;

	if (!w)
		return -ENOLCK;
	*w = (struct waiter){ req, ff3fs_file_ref(file), *l };
	if (pthread_create(&t, NULL, wait_for_lock, w) != 0) {
		ff3fs_close(w->file);
		free(w);
		return -ENOLCK;
	}
	pthread_detach(t);
	return 0;
}

static void set_lock(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, struct ff3fs_lock *l,
		     bool wait)
{
	struct ff3fs_file *file = mount_file(fi);
	int r;

	/* Before it can be granted: the owner may be gone as soon as it is. */
	if (l->type != FF3FS_LOCK_NONE && !remember(mount_ino(node), l->owner, l->kind)) {
		mount_reply(req, -ENOLCK);
		return;
	}
	r = ask(file, l, false, NULL);
	if (r == -EAGAIN && wait) {
		r = start_waiting(req, file, l);
		if (r == 0)
			return;
	}
	mount_reply(req, r);
}

/* --- The operations ------------------------------------------------------------------------ */

static struct ff3fs_lock from_flock(const struct flock *fl, uint64_t owner)
{
	return (struct ff3fs_lock){
		.domain = domain_of(owner),
		.owner = owner,
		.first = (uint64_t)fl->l_start,
		.last = fl->l_len ? (uint64_t)(fl->l_start + fl->l_len - 1) : UINT64_MAX,
		.kind = FF3FS_LOCK_RECORD,
		.type = fl->l_type == F_RDLCK ? FF3FS_LOCK_SHARED :
			fl->l_type == F_WRLCK ? FF3FS_LOCK_EXCLUSIVE :
						FF3FS_LOCK_NONE,
	};
}

void mount_getlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, struct flock *fl)
{
	struct ff3fs_lock l = from_flock(fl, fi->lock_owner), other = { 0 };
	struct flock answer = *fl;
	int r = ask(mount_file(fi), &l, true, &other);

	if (r < 0 && r != -EAGAIN) {
		mount_reply(req, r);
		return;
	}
	answer.l_type = r == 0				    ? F_UNLCK :
			other.type == FF3FS_LOCK_EXCLUSIVE ? F_WRLCK :
							      F_RDLCK;
	if (r < 0) {
		answer.l_start = (off_t)other.first;
		answer.l_len = other.last >= INT64_MAX ? 0 : (off_t)(other.last - other.first + 1);
		answer.l_pid = 0;
	}
	fuse_reply_lock(req, &answer);
}

void mount_setlk(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, struct flock *fl,
		 int sleep)
{
	struct ff3fs_lock l = from_flock(fl, fi->lock_owner);

	set_lock(req, node, fi, &l, sleep);
}

void mount_flock(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi, int op)
{
	struct ff3fs_lock l = {
		.domain = domain_of(fi->lock_owner),
		.owner = fi->lock_owner,
		.last = UINT64_MAX,
		.kind = FF3FS_LOCK_FLOCK,
		.type = op & LOCK_UN ? FF3FS_LOCK_NONE :
			op & LOCK_SH ? FF3FS_LOCK_SHARED :
				       FF3FS_LOCK_EXCLUSIVE,
	};

	set_lock(req, node, fi, &l, !(op & LOCK_NB));
}
