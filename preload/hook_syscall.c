/* Purpose: libc's syscall(), through which node, libaio, io_uring set-up and others make calls that
 * have a function as well. Those that concern our files go to the hooks, by the table of syscalls.h;
 * the rest passes. */
#include "hook.h"

#include <stdarg.h>

#include "syscalls.h"

long hook_syscall(long number, ...)
{
	long a[6], r;
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (LIKELY(init_active()) && syscall_is_ours(number, a))
		return syscall_serve(number, a);
	r = REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (UNLIKELY(r == -1 && errno == ENOENT) && init_active() && syscall_is_linked(number, a))
		return syscall_serve(number, a);
	return r;
}

DEFINE_ALIASES(syscall)
