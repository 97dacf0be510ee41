/* What the parts of Syscall User Dispatch know of each other; see dispatch.c. */
#pragma once

#include <signal.h>
#include <ucontext.h>

#include "dispatch.h"

/* --- dispatch.c ----------------------------------------------------------------------------- */

/* Our text: the range in which the kernel lets all calls pass. */
extern uintptr_t dispatch_text __asm__("ff3_dispatch_text") __attribute__((visibility("hidden")));
extern uintptr_t dispatch_text_size __asm__("ff3_dispatch_text_size")
	__attribute__((visibility("hidden")));
/* Arms the calling thread. */
int dispatch_arm(void);
/* A hook's result as the kernel's. */
long dispatch_result(long r);

/* --- dispatch_signal.c ---------------------------------------------------------------------- */

typedef void signal_handler(int sig, siginfo_t *info, void *context);

/* Installs the handler of SIGSYS, and takes over those that there are. */
void signal_start(signal_handler *on_sigsys);
/* Calls on signals, whose effect would end with the handler that makes them. True: done, the result
 * is in the context. */
bool signal_call(long number, const long a[6], ucontext_t *context);
/* A SIGSYS that the kernel did not send for dispatch: the application's. */
void signal_foreign_sigsys(siginfo_t *info, void *context);

/* Room for a signal mask without SIGSYS, for calls that wait under one. */
struct dispatch_mask {
	uint64_t set;
	uint64_t argument[3];
};
void dispatch_mask_copy(long number, long a[6], struct dispatch_mask *room);

/* --- dispatch_clone.c ----------------------------------------------------------------------- */

/* Calls that make a thread or a process. True: done, the context says how to go on. */
bool clone_call(long number, const long a[6], ucontext_t *context);

/* --- leak.c --------------------------------------------------------------------------------- */

/* Makes the call, and reports it if it names something of ours. The kernel's result. */
long leak_call(long number, const long a[6], const siginfo_t *info, const ucontext_t *context);
