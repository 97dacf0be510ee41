/* Purpose: new files belong to who makes them. The kernel checks permissions by the attributes it
 * is given (default_permissions), so one client, the mount's own, does nearly everything; but the
 * metadata server gives a new file to the user of the client that makes it. So other users' files are
 * made by clients in their name, of which the last few are kept.
 *
 * Threads: `lock` guards the table; a client in use is not freed. */
#include "mount.h"

#include <pthread.h>

#define USERS_MAX 32
#define GROUPS_MAX 1024

struct user {
	struct ff3fs *fs;
	uid_t uid;
	gid_t gid;
	int n_groups;
	gid_t *groups;
	unsigned refs;
	uint64_t used;
};

static struct user users[USERS_MAX];
static uint64_t clock_hand;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void user_done(struct user *u)
{
	ff3fs_free(u->fs);
	free(u->groups);
	*u = (struct user){ 0 };
}

static struct user *find(uid_t uid, gid_t gid, const gid_t *groups, int n)
{
	for (struct user *u = users; u < users + USERS_MAX; u++)
		if (u->fs && u->uid == uid && u->gid == gid && u->n_groups == n &&
		    memcmp(u->groups, groups, (size_t)n * sizeof *groups) == 0)
			return u;
	return NULL;
}

/* A free place, or the one that nobody has used for longest. */
static struct user *find_room(void)
{
	struct user *best = NULL;

	for (struct user *u = users; u < users + USERS_MAX; u++)
		if (u->refs == 0 && (!best || u->used < best->used))
			best = u;
	return best;
}

static int user_new(uid_t uid, gid_t gid, const gid_t *groups, int n, struct user **ret)
{
	struct user *u = find_room();
	int r;

	if (!u)
		return -EAGAIN;
	user_done(u);
	u->groups = malloc((size_t)MAX(n, 1) * sizeof *groups);
	if (!u->groups)
		return -ENOMEM;
	memcpy(u->groups, groups, (size_t)n * sizeof *groups);
	r = ff3fs_new_as(mount_state.conf, uid, gid, groups, n, &u->fs);
	if (r < 0) {
		user_done(u);
		return r;
	}
	u->uid = uid;
	u->gid = gid;
	u->n_groups = n;
	*ret = u;
	return 0;
}

int mount_user_get(fuse_req_t req, struct ff3fs **ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	gid_t groups[GROUPS_MAX];
	struct user *u;
	int n, r = 0;

	if (ctx->uid == mount_state.uid && ctx->gid == mount_state.gid) {
		*ret = mount_state.fs;
		return 0;
	}
	/* Negative where the caller is in another process namespace, or gone. */
	n = fuse_req_getgroups(req, GROUPS_MAX, groups);
	n = MAX(0, MIN(n, GROUPS_MAX));
	pthread_mutex_lock(&lock);
	u = find(ctx->uid, ctx->gid, groups, n);
	if (!u)
		r = user_new(ctx->uid, ctx->gid, groups, n, &u);
	if (r == 0) {
		u->refs++;
		u->used = ++clock_hand;
		*ret = u->fs;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

void mount_user_put(struct ff3fs *fs)
{
	if (fs == mount_state.fs)
		return;
	pthread_mutex_lock(&lock);
	for (struct user *u = users; u < users + USERS_MAX; u++)
		if (u->fs == fs)
			u->refs--;
	pthread_mutex_unlock(&lock);
}

void mount_users_done(void)
{
	for (struct user *u = users; u < users + USERS_MAX; u++)
		user_done(u);
}
