/* Purpose: the argument lists of scripts, which are longer than what the caller gave: the interpreter and the path come
 * first. They are as long as the caller likes and a thread's stack is not, and malloc is nothing for a signal
 * handler: so each is a mapping.
 *
 * A vfork child that executes gives nothing back, and the memory is its parent's. It runs on a thread of the
 * parent's, in whose list a later call finds what another process has left, and that process is gone.
 *
 * Threads: a list of each. Fork/signal: callable anywhere; the last that was made is given back first. */
#include <stddef.h>
#include <sys/mman.h>

#include "hook.h"
#include "raw.h"

struct list {
	struct list *below;
	size_t size;
	pid_t pid;
	char *args[];
};

static __thread struct list *lists __attribute__((tls_model("initial-exec")));

static void drop(void)
{
	struct list *l = lists;

	lists = l->below;
	RAW(munmap, l, l->size);
}

char **exec_args_new(size_t n)
{
	size_t size = offsetof(struct list, args) + n * sizeof(char *);
	pid_t pid = (pid_t)RAW(getpid);
	struct list *l;
	long p;

	while (lists && lists->pid != pid)
		drop();
	p = RAW(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p < 0 && p > -4096)
		return NULL;
	l = (struct list *)p;
	*l = (struct list){ .below = lists, .size = size, .pid = pid };
	lists = l;
	return l->args;
}

void exec_args_free(char **args)
{
	while (lists && lists->args != args) /* a handler's that has jumped out */
		drop();
	if (lists)
		drop();
}
