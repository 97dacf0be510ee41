/* Purpose: a change of user or groups, of which the client has to hear: metad judges by them.
 *
 * Threads: as libc's, which changes all threads. Fork/signal: between vfork and exec the client is the
 * parent's, and is not told. */
#include "hook.h"

#include <grp.h>
#include <sys/fsuid.h>
#include <unistd.h>

/* After the call: r is its result. */
static int changed(int r)
{
	struct ff3fs *fs = r == 0 ? core_loaded() : NULL;

	if (UNLIKELY(fs != NULL) && !init_is_vfork_child())
		CALL(user_changed, fs);
	return r;
}

int hook_setuid(uid_t uid)
{
	return changed(REAL(setuid)(uid));
}

int hook_seteuid(uid_t uid)
{
	return changed(REAL(seteuid)(uid));
}

int hook_setreuid(uid_t ruid, uid_t euid)
{
	return changed(REAL(setreuid)(ruid, euid));
}

int hook_setresuid(uid_t ruid, uid_t euid, uid_t suid)
{
	return changed(REAL(setresuid)(ruid, euid, suid));
}

int hook_setgid(gid_t gid)
{
	return changed(REAL(setgid)(gid));
}

int hook_setegid(gid_t gid)
{
	return changed(REAL(setegid)(gid));
}

int hook_setregid(gid_t rgid, gid_t egid)
{
	return changed(REAL(setregid)(rgid, egid));
}

int hook_setresgid(gid_t rgid, gid_t egid, gid_t sgid)
{
	return changed(REAL(setresgid)(rgid, egid, sgid));
}

int hook_setgroups(size_t n, const gid_t *groups)
{
	return changed(REAL(setgroups)(n, groups));
}

int hook_initgroups(const char *user, gid_t group)
{
	return changed(REAL(initgroups)(user, group));
}

/* These two return what was, and never fail. */
int hook_setfsuid(uid_t uid)
{
	int old = REAL(setfsuid)(uid);

	changed(0);
	return old;
}

int hook_setfsgid(gid_t gid)
{
	int old = REAL(setfsgid)(gid);

	changed(0);
	return old;
}

DEFINE_ALIASES(user)
