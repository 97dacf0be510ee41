/* Purpose: while system calls are dispatched, what the hooks call, the C library's functions and the
 * core's, must not be: each is called through a function here that lets its thread's calls pass
 * meanwhile. Without dispatch these are not in the way: the pointers of REAL() and CALL() name what
 * they always do.
 *
 * The functions are made from the tables of hooks.h and core.h. They do not know parameters: all of
 * them are integers and pointers, so eight words are handed on, whatever there are. A function that
 * takes fewer does not look at the rest.
 *
 * Not so called is what runs code of the application or makes a process, whose calls are not ours, or
 * makes calls on a descriptor that may be ours.
 *
 * Threads: written once. A thread that is cancelled within leaves its selector at "pass"; it is
 * ending, and its last calls are the C library's. */
#include "dispatch.h"

#include "hook.h"

typedef long any_function(long, ...);

#define WORDS long a, long b, long c, long d, long e, long f, long g, long h
#define GIVEN a, b, c, d, e, f, g, h

/* --- The C library's ----------------------------------------------------------------------- */

static struct hook_real behind;

#define PASS_REAL(when, ret, name, params)                                                         \
	static long pass_##name(WORDS)                                                             \
	{                                                                                          \
		char before = dispatch_enter();                                                    \
		long r = ((any_function *)(void *)behind.name)(GIVEN);                             \
                                                                                                   \
		dispatch_leave(before);                                                            \
		return r;                                                                          \
	}
HOOKS_ALL(PASS_REAL, HOOK_NOTHING)

#define PASS_ROW(when, ret, name, params)                                                          \
	[offsetof(struct hook_real, name) / sizeof(void *)] = pass_##name,
static long (*const pass_rows[])(WORDS) = { HOOKS_ALL(PASS_ROW, HOOK_NOTHING) };

static bool runs_application_code(size_t offset)
{
#define THIS(name)                                                                                 \
	if (offset == offsetof(struct hook_real, name))                                            \
		return true;
	/* callbacks */
	THIS(scandir)
	THIS(scandirat)
	THIS(glob)
	THIS(nftw)
	THIS(ftw)
	/* processes, one of which goes on with the application */
	THIS(fork)
	THIS(_Fork)
	THIS(vfork)
	THIS(posix_spawn)
	THIS(posix_spawnp)
	THIS(system)
	THIS(popen)
	THIS(daemon)
	/* constructors; and the linker looks at who called it */
	THIS(dlopen)
	/* anything */
	THIS(syscall)
	/* a stream of libc's own whose descriptor is one of ours: its calls are to be dispatched */
#define THIS_ROW(when, ret, name, params) THIS(name)
	HOOKS_wide(THIS_ROW, HOOK_NOTHING)
	return false;
}

void *dispatch_real(size_t offset, void *found)
{
	if (LIKELY(dispatch_mode == DISPATCH_OFF) || !found || runs_application_code(offset))
		return found;
	*(void **)((char *)&behind + offset) = found;
	return (void *)pass_rows[offset / sizeof(void *)];
}

/* --- The core's ---------------------------------------------------------------------------- */

static struct core_functions core_behind;

#define PASS_CORE(ret, name, params)                                                               \
	static long pass_core_##name(WORDS)                                                        \
	{                                                                                          \
		char before = dispatch_enter();                                                    \
		long r = ((any_function *)(void *)core_behind.name)(GIVEN);                        \
                                                                                                   \
		dispatch_leave(before);                                                            \
		return r;                                                                          \
	}
CORE_FUNCTIONS(PASS_CORE)

void dispatch_core(struct core_functions *functions)
{
	if (LIKELY(dispatch_mode == DISPATCH_OFF))
		return;
	core_behind = *functions;
#define PUT_CORE(ret, name, params)                                                                \
	functions->name = (__typeof__(functions->name))(void *)pass_core_##name;
	CORE_FUNCTIONS(PUT_CORE)
}
