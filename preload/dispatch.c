/* Purpose: Syscall User Dispatch. Interposition does not see the instruction itself: calls that libc
 * makes inside, objects bound past us (RTLD_DEEPBIND, dlmopen, ctypes), liburing and programs with
 * the instruction in their own text. With FF3FS_INTERCEPT=full the kernel gives all of them to
 * on_sigsys, which sends those that name a file of ours to the hooks, by the table of syscalls.h, and
 * makes the others itself. With "check" it reports them instead: leak.c.
 *
 * The kernel lets calls pass that are made in one range, our text (all instructions of raw.h, and the
 * return from our handlers), and those of a thread whose selector says so. The selector says TRAP
 * while the application runs, its signal handlers included (dispatch_signal.c), and PASS inside what
 * the hooks call (dispatch_pass.c). Threads of ours and of the core are not armed. A new thread or
 * process of the application is armed before its first instruction: dispatch_clone.c.
 *
 * Threads: `dispatch_mode`, the range: written in the constructor. Fork, signals: see there.
 * on_sigsys runs on the stack of the call, like the hook that should have been called; calls that it
 * makes through libc come here again, and pass. It does not change errno. */
#include "dispatch_internal.h"

#include <link.h>
#include <signal.h>
#include <sys/prctl.h>

#include "hook.h"
#include "raw.h"
#include "syscalls.h"

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

enum dispatch_mode dispatch_mode;
__thread volatile char dispatch_selector;

static const struct {
	const char *name;
	enum dispatch_mode mode;
} modes[] = {
	{ "full", DISPATCH_FULL },
	{ "check", DISPATCH_CHECK },
	{ "abort", DISPATCH_ABORT },
	{ "hooks", DISPATCH_OFF },
};

#ifdef __x86_64__

uintptr_t dispatch_text, dispatch_text_size;

/* --- Arming -------------------------------------------------------------------------------- */

static int note_text(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t inside = (uintptr_t)note_text;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_LOAD && (p->p_flags & PF_X) && inside >= begin &&
		    inside < begin + p->p_memsz) {
			dispatch_text = begin;
			dispatch_text_size = p->p_memsz;
			return 1;
		}
	}
	return 0;
}

int dispatch_arm(void)
{
	return (int)RAW(prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, dispatch_text,
			dispatch_text_size, &dispatch_selector);
}

/* Can it be done here? Asked without anything changing: the range stands for all there is. */
static bool offered(void)
{
	return RAW(prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF) == 0;
}

/* --- The calls ----------------------------------------------------------------------------- */

long dispatch_result(long r)
{
	return r == -1 ? -errno : r;
}

static long file_call(long number, const long a[6])
{
	long r;

	if (syscall_is_ours(number, a))
		return dispatch_result(syscall_serve(number, a));
	r = raw_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (UNLIKELY(r == -ENOENT) && syscall_is_linked(number, a))
		r = dispatch_result(syscall_serve(number, a));
	return r;
}

static void on_call(long number, siginfo_t *info, ucontext_t *context)
{
	greg_t *g = context->uc_mcontext.gregs;
	long a[6] = { g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9] };
	struct dispatch_mask mask;

	if (signal_call(number, a, context) || clone_call(number, a, context))
		return;
	dispatch_mask_copy(number, a, &mask);
	if (dispatch_mode != DISPATCH_FULL)
		g[REG_RAX] = leak_call(number, a, info, context);
	else
		g[REG_RAX] = file_call(number, a);
}

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	if (UNLIKELY(info->si_code != SYS_USER_DISPATCH))
		signal_foreign_sigsys(info, context);
	else if (UNLIKELY(info->si_arch != 0xc000003eu)) /* int 0x80: other numbers */
		((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
	else
		on_call(info->si_syscall, info, context);
	errno = saved;
}

void dispatch_start(void)
{
	if (LIKELY(dispatch_mode == DISPATCH_OFF))
		return;
	dl_iterate_phdr(note_text, NULL);
	signal_start(on_sigsys);
	dispatch_join();
}

void dispatch_join(void)
{
	if (LIKELY(dispatch_mode == DISPATCH_OFF))
		return;
	dispatch_selector = SELECTOR_TRAP;
	dispatch_arm();
}

#else

static bool offered(void)
{
	return false;
}

void dispatch_start(void)
{
}

void dispatch_join(void)
{
}

#endif

void dispatch_choose(const char *value)
{
	enum dispatch_mode mode = DISPATCH_OFF;
	bool known = !value;

	for (size_t i = 0; i < ARRAY_SIZE(modes) && value && !known; i++)
		if (strcmp(modes[i].name, value) == 0) {
			mode = modes[i].mode;
			known = true;
		}
	if (!known)
		init_tell("FF3FS_INTERCEPT: expected hooks, full, check or abort", value);
	else if (mode != DISPATCH_OFF && !offered())
		init_tell("FF3FS_INTERCEPT: not supported here (it needs x86-64 and Linux 5.11)", value);
	else
		dispatch_mode = mode;
}
