/* Purpose: libc's syscall(), through which node, libaio, io_uring set-up and others make calls that
 * have a function as well. Those that concern our files go to the hooks, by the table of syscalls.h;
 * the rest passes. */
#include "hook.h"

#include <stdarg.h>

#include "syscalls.h"

/* An allocator behind ours that has hooks for memory makes the call itself by syscall(): where that is the
 * end of the way and not its beginning, it passes. -1: no such call under way (0 is read). */
static _Thread_local long memory_call = -1;

static long serve_memory_call(long number, const long a[6])
{
	long r, before = memory_call;

	memory_call = number;
	r = syscall_serve(number, a);
	memory_call = before;
	return r;
}

static bool is_memory_call(long number)
{
	return number == SYS_mmap || number == SYS_munmap || number == SYS_mremap ||
	       number == SYS_mprotect;
}

/* Six arguments are taken whatever was given, the last from the caller's stack. */
__attribute__((no_sanitize_address)) long hook_syscall(long number, ...)
{
	long a[6], r;
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (LIKELY(init_active()) && number != memory_call && syscall_is_ours(number, a))
		return is_memory_call(number) ? serve_memory_call(number, a) :
						syscall_serve(number, a);
	r = REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (UNLIKELY(r == -1 && errno == ENOENT) && init_active() && syscall_is_linked(number, a))
		return syscall_serve(number, a);
	return r;
}

DEFINE_ALIASES(syscall)
