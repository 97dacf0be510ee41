/* Purpose: vfork. What was written so far must be seen by the program that the child will execute, and
 * the child itself cannot send it: so it is sent before.
 *
 * vfork returns twice on the caller's stack, so no C function can stand in front of it: the second
 * return would find the frame gone. This one leaves no frame: it calls before_vfork, puts the stack
 * back as it was, and jumps to the real vfork, which then returns to our caller both times. */
#include "hook.h"

#include "raw.h"

void *before_vfork(void) __asm__("ff3_before_vfork") __attribute__((visibility("hidden"), used));
void *before_vfork(void)
{
	int saved = errno;

	flush_everything();
	errno = saved;
	return (void *)REAL(vfork);
}

#if defined(__x86_64__)
__asm__(".text\n"
	".globl vfork, __vfork\n"
	".type vfork, @function\n"
	".set __vfork, vfork\n"
	"vfork:\n"
	".cfi_startproc\n"
	"	endbr64\n"
	"	subq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call ff3_before_vfork\n"
	"	addq $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *%rax\n"
	".cfi_endproc\n"
	".size vfork, . - vfork\n");
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl vfork, __vfork\n"
	".type vfork, %function\n"
	".set __vfork, vfork\n"
	"vfork:\n"
	".cfi_startproc\n"
	"	hint 34\n" /* bti c */
	"	stp x29, x30, [sp, #-16]!\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset 29, -16\n"
	"	.cfi_offset 30, -8\n"
	"	bl ff3_before_vfork\n"
	"	mov x16, x0\n"
	"	ldp x29, x30, [sp], #16\n"
	"	.cfi_def_cfa_offset 0\n"
	"	br x16\n"
	".cfi_endproc\n"
	".size vfork, . - vfork\n");
#endif
