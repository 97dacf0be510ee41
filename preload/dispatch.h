/* FF3FS_INTERCEPT: Linux's Syscall User Dispatch, by which every system call of the process that is
 * not made in our own text is first given to us. See dispatch.c. */
#pragma once

#include "../common/base/base.h"

enum dispatch_mode {
	DISPATCH_OFF,
	DISPATCH_FULL,  /* serve what the hooks missed */
	DISPATCH_CHECK, /* report it, and let it pass */
	DISPATCH_ABORT, /* report it and end the program */
};
extern enum dispatch_mode dispatch_mode;

/* The constructor's. value: of FF3FS_INTERCEPT, or NULL. Before the first hook is looked up: */
void dispatch_choose(const char *value);
/* and when everything else is ready: */
void dispatch_start(void);
/* A thread that we made is about to run code of the application. */
void dispatch_join(void);

/* --- The selector, one for each thread ------------------------------------------------------ */

#define SELECTOR_PASS 0
#define SELECTOR_TRAP 1

/* What the kernel looks at when this thread makes a system call outside our text. */
extern __thread volatile char dispatch_selector __asm__("ff3_dispatch_selector")
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Around work of ours that goes through libc: its system calls are not the application's. What
 * runs application code (a callback, a child process) must not be inside. */
static inline char dispatch_enter(void)
{
	char before = dispatch_selector;

	dispatch_selector = SELECTOR_PASS;
	return before;
}

static inline void dispatch_leave(char before)
{
	dispatch_selector = before;
}

/* --- Functions that are called in this way (dispatch_pass.c) -------------------------------- */

struct core_functions;

/* What to call instead of the function found for this offset of struct hook_real. */
void *dispatch_real(size_t offset, void *found);
/* Puts such functions in place of all of the core's. */
void dispatch_core(struct core_functions *core);
