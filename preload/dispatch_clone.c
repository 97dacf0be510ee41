/* Purpose: threads and processes of a program whose system calls are dispatched. The kernel arms
 * neither: a new one must arm itself, before the application's first instruction in it.
 *
 * A fork without a stack of its own is made in the handler of SIGSYS: its copy of that returns in the
 * child. Where memory is shared, the handler cannot do it, since two would return on one stack. It
 * returns to a piece of our text instead, with all registers as the application had them, which makes
 * the call and then goes back to where the application made it. Both sides must still know where that
 * is, with no register to keep it in:
 *  - a child with a stack of its own finds it in the 128 bytes below that stack's end, which nobody
 *    uses yet and no signal handler may;
 *  - a child on its parent's stack (vfork), and every parent, in `resume`, a stack in the thread's
 *    storage, for a vfork child may itself make children.
 * The kernel keeps a call's return address in rcx, so that is what we jump by.
 *
 * A thread is armed if it has thread storage of the C library's form, where its selector is; a
 * process that shares its parent's memory, if the parent waits for it. Others are left alone: what
 * they miss fails closed.
 *
 * Threads: everything here is the thread's own. vfork: the parent's selector may have been left at
 * PASS by a child that has executed another program: it is set again. */
#ifdef __x86_64__
#include "dispatch_internal.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

#include "hook.h"
#include "raw.h"

#define N_RESUME 16

__thread uintptr_t resume[N_RESUME] __asm__("ff3_resume")
	__attribute__((tls_model("initial-exec"), visibility("hidden"), used));
__thread uintptr_t n_resume __asm__("ff3_n_resume")
	__attribute__((tls_model("initial-exec"), visibility("hidden"), used));
/* A vfork child's registers while it arms itself. */
__thread uintptr_t kept[5] __asm__("ff3_kept")
	__attribute__((tls_model("initial-exec"), visibility("hidden"), used));

void clone_armed(void) __asm__("ff3_clone_armed") __attribute__((visibility("hidden")));
void clone_unarmed(void) __asm__("ff3_clone_unarmed") __attribute__((visibility("hidden")));
void clone_vfork(void) __asm__("ff3_clone_vfork") __attribute__((visibility("hidden")));

/* prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, text, size, &selector) */
#define ARM                                                                                        \
	"	movq ff3_dispatch_selector@gottpoff(%rip), %r8\n"                                  \
	"	movb $1, %fs:(%r8)\n"                                                              \
	"	addq %fs:0, %r8\n"                                                                 \
	"	movl $59, %edi\n"                                                                  \
	"	movl $1, %esi\n"                                                                   \
	"	movq ff3_dispatch_text(%rip), %rdx\n"                                              \
	"	movq ff3_dispatch_text_size(%rip), %r10\n"                                         \
	"	movl $157, %eax\n"                                                                 \
	"	syscall\n"
#define BEGIN(name)                                                                                \
	".globl " name "\n"                                                                        \
	".hidden " name "\n"                                                                       \
	".type " name ", @function\n" name ":\n"                                                   \
	"	syscall\n"                                                                         \
	"	testq %rax, %rax\n"                                                                \
	"	jnz ff3_clone_parent\n"

__asm__(".text\n"
	/* The child's stack is its own. */
	BEGIN("ff3_clone_armed")
	"	movq %rdi, -16(%rsp)\n"
	"	movq %rsi, -24(%rsp)\n"
	"	movq %rdx, -32(%rsp)\n"
	"	movq %r10, -40(%rsp)\n"
	"	movq %r8, -48(%rsp)\n"
	ARM
	"	movq -16(%rsp), %rdi\n"
	"	movq -24(%rsp), %rsi\n"
	"	movq -32(%rsp), %rdx\n"
	"	movq -40(%rsp), %r10\n"
	"	movq -48(%rsp), %r8\n"
	"	xorl %eax, %eax\n"
	"	movq -8(%rsp), %rcx\n"
	"	jmp *%rcx\n"
	".size ff3_clone_armed, . - ff3_clone_armed\n"

	"ff3_clone_parent:\n"
	"	movq ff3_dispatch_selector@gottpoff(%rip), %rcx\n"
	"	movb $1, %fs:(%rcx)\n"
	"	movq ff3_n_resume@gottpoff(%rip), %r11\n"
	"	movq %fs:(%r11), %rcx\n"
	"	subq $1, %rcx\n"
	"	movq %rcx, %fs:(%r11)\n"
	"	movq ff3_resume@gottpoff(%rip), %r11\n"
	"	movq %fs:(%r11,%rcx,8), %rcx\n"
	"	jmp *%rcx\n"

	BEGIN("ff3_clone_unarmed")
	"	movq -8(%rsp), %rcx\n"
	"	jmp *%rcx\n"
	".size ff3_clone_unarmed, . - ff3_clone_unarmed\n"

	/* The child is on the parent's stack, with the parent's storage. */
	BEGIN("ff3_clone_vfork")
	"	movq ff3_kept@gottpoff(%rip), %rcx\n"
	"	movq %rdi, %fs:(%rcx)\n"
	"	movq %rsi, %fs:8(%rcx)\n"
	"	movq %rdx, %fs:16(%rcx)\n"
	"	movq %r10, %fs:24(%rcx)\n"
	"	movq %r8, %fs:32(%rcx)\n"
	ARM
	"	movq ff3_kept@gottpoff(%rip), %rcx\n"
	"	movq %fs:(%rcx), %rdi\n"
	"	movq %fs:8(%rcx), %rsi\n"
	"	movq %fs:16(%rcx), %rdx\n"
	"	movq %fs:24(%rcx), %r10\n"
	"	movq %fs:32(%rcx), %r8\n"
	"	xorl %eax, %eax\n"
	"	movq ff3_n_resume@gottpoff(%rip), %r11\n"
	"	movq %fs:(%r11), %rcx\n"
	"	movq ff3_resume@gottpoff(%rip), %r11\n"
	"	movq %fs:-8(%r11,%rcx,8), %rcx\n"
	"	jmp *%rcx\n"
	".size ff3_clone_vfork, . - ff3_clone_vfork\n");

/* --- The calls ----------------------------------------------------------------------------- */

struct request {
	uint64_t flags, stack, tls; /* stack: its upper end, or 0 */
};

static bool clone3_request(const long a[6], struct request *ret)
{
	struct clone_args args = { 0 };

	if ((size_t)a[1] < CLONE_ARGS_SIZE_VER0 ||
	    !memory_copy_in(&args, (const void *)a[0], MIN((size_t)a[1], sizeof args)))
		return false; /* the kernel says what is wrong */
	*ret = (struct request){ args.flags, args.stack ? args.stack + args.stack_size : 0, args.tls };
	return true;
}

/* What a call asks for. False: it is none of these, or wrong. */
static bool request_of(long number, const long a[6], struct request *ret)
{
	switch (number) {
	case SYS_clone:
		*ret = (struct request){ (uint64_t)a[0], (uint64_t)a[1], (uint64_t)a[4] };
		return true;
	case SYS_clone3:
		return clone3_request(a, ret);
	case SYS_fork:
		*ret = (struct request){ 0 };
		return true;
	case SYS_vfork:
		*ret = (struct request){ CLONE_VM | CLONE_VFORK, 0, 0 };
		return true;
	}
	return false;
}

/* The C library's thread storage begins with its own address. */
static bool has_selector(const struct request *q)
{
	uint64_t self;

	if (!(q->flags & CLONE_SETTLS))
		return !(q->flags & CLONE_VM) || (q->flags & CLONE_VFORK);
	return memory_copy_in(&self, (const void *)q->tls, sizeof self) && self == q->tls;
}

/* Lets the handler return to a piece of our text that makes the call. */
static long send_to(void (*piece)(void), const struct request *q, ucontext_t *context)
{
	greg_t *g = context->uc_mcontext.gregs;
	uintptr_t back = (uintptr_t)g[REG_RIP];

	if (n_resume == N_RESUME)
		return -EAGAIN;
	if (q->stack && !memory_copy_out((void *)(q->stack - sizeof back), &back, sizeof back))
		return -EFAULT;
	resume[n_resume++] = back;
	g[REG_RIP] = (greg_t)(uintptr_t)piece;
	return 0;
}

bool clone_call(long number, const long a[6], ucontext_t *context)
{
	greg_t *g = context->uc_mcontext.gregs;
	struct request q;
	long r;

	if (!request_of(number, a, &q))
		return false;
	if (q.stack) {
		r = send_to(has_selector(&q) ? clone_armed : clone_unarmed, &q, context);
	} else if (!(q.flags & CLONE_VM)) {
		g[REG_RAX] = raw_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (g[REG_RAX] == 0)
			dispatch_arm();
		return true;
	} else {
		r = q.flags & CLONE_VFORK ? send_to(clone_vfork, &q, context) : -EINVAL;
	}
	if (r < 0)
		g[REG_RAX] = r;
	return true;
}
#endif
