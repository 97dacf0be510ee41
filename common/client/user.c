/* Purpose: for whom this process acts. Servers and set-user-ID programs change their user while they
 * run; what they ask from then on must be judged as that user's.
 *
 * Every user that was met is kept, as connections to metad name theirs by pointer (rpc.h): a process has
 * few, and going back to one finds its connection still there.
 *
 * Threads: one user for the whole process, as the C library has it; `lock` guards the list. The
 * system calls that change one thread only are not followed; a daemon's local socket that such a thread opens is
 * served as the thread's user, if that may not be the process's.
 * Fork: the list is inherited; the lock is made anew. Signals: not async-signal-safe. */
#include "internal.h"

#include <sys/syscall.h>
#include <unistd.h>

struct known {
	struct known *next;
	struct ff3_rpc_user user;
	uint32_t groups[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known *known;

void ff3_users_after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
}

static bool is_user(const struct ff3_rpc_user *a, const struct ff3_rpc_user *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
	       memcmp(a->groups, b->groups, a->n_groups * sizeof *a->groups) == 0;
}

/* The one record of such a user. */
static const struct ff3_rpc_user *keep(const struct ff3_rpc_user *user)
{
	size_t size = user->n_groups * sizeof *user->groups;
	struct known *k;

	pthread_mutex_lock(&lock);
	for (k = known; k && !is_user(&k->user, user); k = k->next)
		;
	if (!k && (k = malloc(sizeof *k + size))) {
		memcpy(k->groups, user->groups, size);
		k->user = *user;
		k->user.groups = k->groups;
		k->next = known;
		known = k;
	}
	pthread_mutex_unlock(&lock);
	return k ? &k->user : NULL;
}

/* real: as access(2) asks. */
static int who(bool real, const struct ff3_rpc_user **ret)
{
	uint32_t groups[FF3_GROUPS_MAX];
	gid_t list[FF3_GROUPS_MAX];
	int n = getgroups(ARRAY_SIZE(list), list);
	struct ff3_rpc_user user = { .groups = groups };

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		groups[i] = list[i];
	user.n_groups = (uint32_t)n;
	/* An impossible one changes nothing, and tells what it is. */
	user.uid = real ? getuid() : (uint32_t)syscall(SYS_setfsuid, -1);
	user.gid = real ? getgid() : (uint32_t)syscall(SYS_setfsgid, -1);
	*ret = keep(&user);
	return *ret ? 0 : -ENOMEM;
}

int ff3_as_real_user(void)
{
	const struct ff3_rpc_user *user;
	int r;

	if ((uid_t)syscall(SYS_setfsuid, -1) == getuid() && (gid_t)syscall(SYS_setfsgid, -1) == getgid())
		return 0;
	r = who(true, &user);
	if (r == 0)
		ff3_rpc_as = user;
	return r;
}

void ff3_as_oneself(void)
{
	ff3_rpc_as = NULL;
}

EXPORT int ff3fs_user_changed(struct ff3fs *fs)
{
	FF3_ENTER();
	const struct ff3_rpc_user *user;
	int r = who(false, &user);

	/* What is kept is for the user that this process was. */
	atomic_store(&fs->leases.off, true);
	if (r == 0)
		ff3_rpc_group_set_user(fs->meta.group, user);
	return r;
}
