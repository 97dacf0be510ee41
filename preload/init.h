/* The shim's start, and what it knows about its process. See init.c and fork.c. */
#pragma once

#include "../common/base/base.h"

extern bool init_ready;  /* the constructor has run */
extern bool init_enabled; /* … and there are prefixes to serve */

static inline bool init_active(void)
{
	return LIKELY(init_enabled);
}

/* fork.c: is this a child that still shares its parent's memory (vfork)? It must not change any
 * state of ours, nor speak on the core's connections. One system call. */
bool init_is_vfork_child(void);
/* A page that the kernel empties in a child with memory of its own: so a fork shows that ran no handler
 * (_Fork, or the system call). To be asked before anything of ours is used. */
extern const char *fork_mark;
void fork_unannounced(void);
static inline void fork_notice(void)
{
	if (UNLIKELY(!*(const volatile char *)fork_mark))
		fork_unannounced();
}
void fork_init(void);
/* This process; of a vfork child its parent, whose descriptions are used there. Without a system call. */
pid_t fork_self(void);
/* This process is a new one, and everything of ours is to know. */
void fork_in_child(void);
bool fork_is_hooked(void); /* in a fork whose end hook_fork will see */

/* Runs fn(arg) in a short-lived forked process, where everything is allowed, and returns its
 * result; out (n bytes) is copied back. For the few things a vfork child must know. -EAGAIN, … */
int fork_run(int (*fn)(void *arg, void *out), void *arg, void *out, size_t n);

/* What each module does in a forked child, and at exit. */
void fdtab_after_fork(void);
void async_after_fork(void);
void aio_ctx_after_fork(void);
void uring_after_fork(void);
void posix_aio_after_fork(void);
void stdio_after_fork(void);
void lock_after_fork(void);
void socket_after_fork(void);
void fd_after_fork(void);
void core_after_fork(void);

/* The umask, to be applied by us. */
mode_t init_umask(void);
void init_set_umask(mode_t mask);

/* The process ends: nothing of it may be lost. */
void init_leave(void);
/* Between exit's destructors and the end of the process buffers can only be sent at once. */
extern bool init_exiting;

/* One line to $FF3FS_LOG, if set: rate-limited, no allocation, errno kept. */
bool init_log(const char *what, const char *detail);
/* The same, or to stderr if there is no $FF3FS_LOG. */
void init_tell(const char *what, const char *detail);
