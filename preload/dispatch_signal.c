/* Purpose: signals of a program whose system calls are dispatched.
 *
 * A call that changes masks or the signal stack cannot be made by the handler of SIGSYS in the
 * application's stead: the return from it would undo that. It is done to what the return restores.
 *
 * SIGSYS is never blocked, or the next call would end the program: it is left out of every mask that
 * reaches the kernel; a thread that asks is told what it has set. It is never the application's to
 * handle: an action for it is kept here, and taken when one comes that is not ours.
 *
 * Every handler of the application is called by on_signal, which lets its calls be dispatched, even
 * where it interrupts ours, and which returns through our text.
 *
 * Threads: an entry of `actions` is written before its handler can run; a program that changes one
 * in two threads at once gets one of both. vfork: the child's actions are its own, the table is not:
 * it sets its handlers without on_signal. Signals: on_signal calls nothing but the handler. */
#ifdef __x86_64__
#include "dispatch_internal.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>

#include "hook.h"
#include "raw.h"

struct kernel_action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

#define N_SIGNALS 64
#define BIT(sig) (1ull << ((sig)-1))
#define RESTORER 0x04000000ul

/* By signal number. That of SIGSYS is the application's, whom it does not reach. */
static struct kernel_action actions[N_SIGNALS + 1];
static __thread bool sigsys_blocked __attribute__((tls_model("initial-exec")));

/* The return from a signal handler. Unwinders know it by its bytes, debuggers by its name too. */
void signal_return(void) __asm__("__restore_rt") __attribute__((visibility("hidden")));
__asm__(".text\n"
	".balign 16\n"
	"	nop\n" /* unwinders look at the byte before a return address */
	".globl __restore_rt\n"
	".hidden __restore_rt\n"
	".type __restore_rt, @function\n"
	"__restore_rt:\n"
	"	movq $15, %rax\n"
	"	syscall\n"
	"	ud2\n"
	".size __restore_rt, . - __restore_rt\n");

/* --- Handlers ------------------------------------------------------------------------------ */

static void on_signal(int sig, siginfo_t *info, void *context)
{
	const greg_t *ip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	greg_t interrupted = *ip;
	char before = dispatch_selector;
	signal_handler *handler =
		(signal_handler *)__atomic_load_n(&actions[sig].handler, __ATOMIC_ACQUIRE);

	dispatch_selector = SELECTOR_TRAP;
	handler(sig, info, context);
	/* Sent elsewhere by the handler, a thread is not inside us any more. */
	dispatch_selector = *ip == interrupted ? before : SELECTOR_TRAP;
}

static bool is_handler(const void *handler)
{
	return handler != (void *)SIG_DFL && handler != (void *)SIG_IGN;
}

static long set_action(int sig, const struct kernel_action *act, struct kernel_action *old)
{
	return RAW(rt_sigaction, sig, act, old, 8);
}

/* Sets act as it is, or by way of on_signal. */
static long replace_action(int sig, const struct kernel_action *act, struct kernel_action *old)
{
	struct kernel_action ours = *act, before = actions[sig];
	long r;

	ours.mask &= ~BIT(SIGSYS);
	if (is_handler(act->handler) && !init_is_vfork_child()) {
		ours.handler = (void *)on_signal;
		ours.flags |= SA_SIGINFO | RESTORER;
		ours.restorer = (void *)signal_return;
		actions[sig].flags = act->flags;
		actions[sig].restorer = act->restorer;
		actions[sig].mask = act->mask;
		__atomic_store_n(&actions[sig].handler, act->handler, __ATOMIC_RELEASE);
	}
	r = set_action(sig, &ours, old);
	if (r < 0)
		actions[sig] = before;
	else if (old->handler == (void *)on_signal)
		*old = before;
	return r;
}

static long sigaction_call(const long a[6])
{
	const void *user = (const void *)a[1];
	void *ret = (void *)a[2];
	struct kernel_action act, old;
	int sig = (int)a[0];
	long r = 0;

	if (a[3] != 8 || sig < 1 || sig > N_SIGNALS)
		return -EINVAL;
	if (user && !memory_copy_in(&act, user, sizeof act))
		return -EFAULT;
	if (sig == SIGSYS) {
		old = actions[sig];
		if (user && !init_is_vfork_child())
			actions[sig] = act;
	} else if (user) {
		r = replace_action(sig, &act, &old);
	} else {
		r = set_action(sig, NULL, &old);
		if (r == 0 && old.handler == (void *)on_signal)
			old = actions[sig];
	}
	if (r == 0 && ret && !memory_copy_out(ret, &old, sizeof old))
		r = -EFAULT;
	return r;
}

void signal_start(signal_handler *on_sigsys)
{
	struct kernel_action act = { (void *)on_sigsys, SA_SIGINFO | SA_NODEFER | RESTORER,
				     (void *)signal_return, 0 };
	uint64_t sigsys = BIT(SIGSYS);

	for (int sig = 1; sig <= N_SIGNALS; sig++) {
		struct kernel_action now, old;

		if (set_action(sig, NULL, &now) == 0 && is_handler(now.handler))
			replace_action(sig, &now, &old);
	}
	set_action(SIGSYS, &act, NULL);
	RAW(rt_sigprocmask, SIG_UNBLOCK, &sigsys, NULL, 8);
}

void signal_foreign_sigsys(siginfo_t *info, void *context)
{
	const struct kernel_action *act = &actions[SIGSYS], none = { 0 };
	uint64_t sigsys = BIT(SIGSYS);
	long pid = RAW(getpid), tid = RAW(gettid);

	if (is_handler(act->handler)) {
		on_signal(SIGSYS, info, context);
	} else if (act->handler == (void *)SIG_DFL) {
		set_action(SIGSYS, &none, NULL);
		RAW(rt_sigprocmask, SIG_UNBLOCK, &sigsys, NULL, 8);
		RAW(tgkill, pid, tid, SIGSYS);
	}
}

/* --- Masks --------------------------------------------------------------------------------- */

static long sigprocmask_call(const long a[6], ucontext_t *context)
{
	uint64_t *mask = (uint64_t *)&context->uc_sigmask;
	uint64_t old = *mask | (sigsys_blocked ? BIT(SIGSYS) : 0), now = old, set;

	if (a[3] != 8)
		return -EINVAL;
	if (a[1]) {
		if (!memory_copy_in(&set, (const void *)a[1], sizeof set))
			return -EFAULT;
		switch ((int)a[0]) {
		case SIG_BLOCK:
			now = old | set;
			break;
		case SIG_UNBLOCK:
			now = old & ~set;
			break;
		case SIG_SETMASK:
			now = set;
			break;
		default:
			return -EINVAL;
		}
		sigsys_blocked = now & BIT(SIGSYS);
		*mask = now & ~(BIT(SIGSYS) | BIT(SIGKILL) | BIT(SIGSTOP));
	}
	if (a[2] && !memory_copy_out((void *)a[2], &old, sizeof old))
		return -EFAULT;
	return 0;
}

/* Lets *pointer name a copy of the mask without SIGSYS. What cannot be read the kernel refuses. */
static void copy_mask(uint64_t *pointer, uint64_t size, struct dispatch_mask *room)
{
	if (!*pointer || size != 8 || !memory_copy_in(&room->set, (void *)*pointer, 8))
		return;
	room->set &= ~BIT(SIGSYS);
	*pointer = (uintptr_t)&room->set;
}

/* The mask's pointer and size are in memory: argument i names them. */
static void copy_argument(long a[6], int i, size_t size, struct dispatch_mask *room)
{
	if (!a[i] || !memory_copy_in(room->argument, (void *)a[i], size))
		return;
	copy_mask(&room->argument[0], size == 16 ? room->argument[1] : (uint32_t)room->argument[1],
		  room);
	a[i] = (long)room->argument;
}

void dispatch_mask_copy(long number, long a[6], struct dispatch_mask *room)
{
	switch (number) {
	case SYS_rt_sigsuspend:
		copy_mask((uint64_t *)&a[0], (uint64_t)a[1], room);
		break;
	case SYS_ppoll:
		copy_mask((uint64_t *)&a[3], (uint64_t)a[4], room);
		break;
	case SYS_epoll_pwait:
	case 441: /* epoll_pwait2 */
		copy_mask((uint64_t *)&a[4], (uint64_t)a[5], room);
		break;
	case SYS_pselect6:
	case SYS_io_pgetevents:
		copy_argument(a, 5, 16, room);
		break;
	case SYS_io_uring_enter:
		if (!(a[3] & (1u << 3))) /* IORING_ENTER_EXT_ARG */
			copy_mask((uint64_t *)&a[4], (uint64_t)a[5], room);
		else if (a[5] == 24)
			copy_argument(a, 4, 24, room);
		break;
	}
}

/* --- The calls ----------------------------------------------------------------------------- */

static long sigaltstack_call(const long a[6], ucontext_t *context)
{
	long r = RAW(sigaltstack, a[0], a[1]);

	if (r == 0 && a[0])
		RAW(sigaltstack, NULL, &context->uc_stack);
	return r;
}

bool signal_call(long number, const long a[6], ucontext_t *context)
{
	greg_t *g = context->uc_mcontext.gregs;

	switch (number) {
	case SYS_rt_sigaction:
		g[REG_RAX] = sigaction_call(a);
		return true;
	case SYS_rt_sigprocmask:
		g[REG_RAX] = sigprocmask_call(a, context);
		return true;
	case SYS_sigaltstack:
		g[REG_RAX] = sigaltstack_call(a, context);
		return true;
	case SYS_rt_sigreturn: /* from a handler that was not set through us: on its own stack */
		g[REG_RIP] = (greg_t)(uintptr_t)signal_return;
		return true;
	}
	return false;
}
#endif
