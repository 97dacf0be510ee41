/* Purpose: system calls by number, as syscalls.h lists them: which of them are ours, and the hooks
 * that serve these. Where a hook by name and the call by number differ, the difference is here.
 *
 * Threads, fork, signals: no state; as the hooks. */
#include "syscalls.h"

#include <stdio.h>

#include "aio.h"
#include "hook.h"
#include "raw.h"
#include "uring.h"

/* --- Which -------------------------------------------------------------------------------- */

unsigned syscall_arguments(long number)
{
#define ROW_ARGUMENTS(name, which, call)                                                           \
	case SYS_##name:                                                                           \
		return which;
	switch (number) {
		SYSCALLS(ROW_ARGUMENTS, HOOK_NOTHING)
	default:
		return 0;
	}
}

const char *syscall_name(long number)
{
#define ROW_NAME(name, which, call)                                                                \
	case SYS_##name:                                                                           \
		return #name;
	switch (number) {
		SYSCALLS(ROW_NAME, HOOK_NOTHING)
	default:
		return "system call";
	}
}

bool syscall_is_ours(long number, const long a[6])
{
	unsigned which = syscall_arguments(number);
	struct ofd *o;
	int r;

	if (which == 0 || (which & ALWAYS))
		return which != 0;
	for (int i = 0; i < 6; i++) {
		if (which & FD(i)) {
			r = fdtab_get(INT(i), &o); /* and it is known from now on */
			if (r > 0)
				ofd_unref(o);
			if (r != 0)
				return true;
		}
		if ((which & AT(i)) && (STR(i + 1) ? where_is_ours(INT(i), STR(i + 1)) :
						     fdtab_is_ours(INT(i))))
			return true;
		if ((which & PATH(i)) && where_is_ours(AT_FDCWD, STR(i)))
			return true;
	}
	return false;
}

bool syscall_is_linked(long number, const long a[6])
{
	unsigned which = syscall_arguments(number);
	int saved = errno;
	struct where w;
	bool linked = false;

	errno = ENOENT;
	for (int i = 0; i < 6 && !linked; i++)
		if (which & AT(i))
			linked = where_through_links(&w, INT(i), STR(i + 1), 0) != 0;
		else if (which & PATH(i))
			linked = where_through_links(&w, AT_FDCWD, STR(i), 0) != 0;
	errno = saved;
	return linked;
}

/* --- Where the number's call is not the name's -------------------------------------------- */

/* The kernel takes a null path for an empty one where the flag is set. */
#define EMPTY(i, flags) (!a[i] && ((flags) & AT_EMPTY_PATH) ? "" : STR(i))

/* These sizes are an int to the kernel. */
static size_t size_of_int(long size)
{
	return (int)size < 0 ? 0 : (size_t)(int)size;
}

static long serve_fadvise(const long *a)
{
	return hook_result(-hook_posix_fadvise(INT(0), a[1], a[2], INT(3)));
}

/* By number a null path means the descriptor; by name it is refused. */
static long serve_utimensat(const long *a)
{
	if (STR(1) || INT(0) == AT_FDCWD)
		return hook_utimensat(INT(0), STR(1), PTR(2), INT(3));
	return INT(3) ? hook_result(-EINVAL) : hook_futimens(INT(0), PTR(2));
}

/* getcwd(2): the length with the terminator, never a buffer of its own. */
static long serve_getcwd(char *buf, size_t size)
{
	if (!cwd_inode())
		return hook_raw(RAW(getcwd, buf, size));
	if (size == 0)
		return hook_result(-ERANGE);
	if (!buf)
		return hook_result(-EFAULT);
	return hook_getcwd(buf, size) ? (long)strlen(buf) + 1 : -1;
}

#ifdef SYS_getdents
/* The old form of a directory's entries: as long as the new, with the type at the end. */
static long serve_getdents(int fd, char *buf, size_t size)
{
	long n = hook_getdents64(fd, buf, size);

	for (long at = 0; at < n;) {
		char *entry = buf + at, *name = entry + 18;
		uint16_t len;
		char type = *name;

		memcpy(&len, entry + 16, sizeof len);
		memmove(name, name + 1, strlen(name + 1) + 1);
		entry[len - 1] = type;
		at += len;
	}
	return n;
}
#endif

/* --- Serving ------------------------------------------------------------------------------- */

long syscall_serve(long number, const long a[6])
{
#define ROW_SERVE(name, which, call)                                                               \
	case SYS_##name:                                                                           \
		return call;
	switch (number) {
		SYSCALLS(ROW_SERVE, HOOK_NOTHING)
	default:
		return hook_result(-ENOSYS);
	}
}
