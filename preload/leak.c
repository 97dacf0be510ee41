/* Purpose: FF3FS_INTERCEPT=check, a test tool. A system call that names a file of ours, and is made
 * neither in our text nor on our behalf, is one that no hook has seen: it is reported, once for each
 * place, in a line of $FF3FS_LOG or on stderr, and goes to the kernel as it is. A program that would
 * succeed then ends with status 86; with FF3FS_INTERCEPT=abort it ends at once, by SIGABRT.
 *
 * What the placeholder does as well as any other descriptor is no leak: copies of it, close-on-exec;
 * and between vfork and exec, closing it, since the child's descriptors are nobody else's.
 *
 * Threads: `lock` guards the list of executable memory and the places; it is held without calls that
 * could be dispatched. Signals: a handler that leaks while its thread reports goes unreported. Fork:
 * a child counts on. */
#ifdef __x86_64__
#include "dispatch_internal.h"

#include <stdio.h>

#include "hook.h"
#include "raw.h"
#include "syscalls.h"

#define STATUS 86

static _Atomic int n_leaks;
static _Atomic int lock;

/* --- Which call -------------------------------------------------------------------------------- */

/* The placeholder itself serves it. */
static bool is_harmless(long number, const long a[6])
{
	bool child = init_is_vfork_child();

	switch (number) {
	case SYS_dup:
		return true;
	case SYS_dup2:
	case SYS_dup3:
		return child || a[0] == a[1] || !fdtab_is_ours((int)a[1]);
	case SYS_fcntl:
		return a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC || a[1] == F_GETFD || a[1] == F_SETFD;
	case SYS_close:
		return child;
	case SYS_mmap:
		return a[3] & 0x20; /* MAP_ANONYMOUS */
	case SYS_openat:
		return a[2] & O_PATH && !where_is_ours((int)a[0], (const char *)a[1]);
	}
	return false;
}

/* What of ours the call names; false: nothing. */
static bool names_ours(long number, const long a[6], char out[64], const char **ret_path)
{
	unsigned which = syscall_arguments(number);

	*ret_path = NULL;
	for (int i = 0; i < 6; i++) {
		if ((which & FD(i)) && fdtab_is_ours((int)a[i]))
			return snprintf(out, 64, "descriptor %d", (int)a[i]), true;
		if (which & (AT(i) | PATH(i))) {
			int dirfd = which & AT(i) ? (int)a[i] : AT_FDCWD;
			const char *path = (const char *)a[which & AT(i) ? i + 1 : i];

			if (path ? where_is_ours(dirfd, path) : fdtab_is_ours(dirfd)) {
				if (dirfd == AT_FDCWD || (path && *path == '/'))
					out[0] = '\0';
				else
					snprintf(out, 64, "descriptor %d, path ", dirfd);
				*ret_path = path ? path : "";
				return true;
			}
		}
	}
	return false;
}

/* --- From where -------------------------------------------------------------------------------- */

struct text {
	uintptr_t begin, end, base;
	char name[80];
};

static struct text texts[256];
static int n_texts;

/* A line of /proc/self/maps. base: the first mapping of the same object. */
static void take_line(const char *line, char object[80], uintptr_t *base)
{
	const char *path = strchr(line, '/'), *slash = path ? strrchr(path, '/') : NULL;
	const char *name = slash ? slash + 1 : "memory";
	char *p;
	uintptr_t begin = strtoul(line, &p, 16), end = strtoul(p + 1, &p, 16);

	if (!path || strncmp(name, object, 79) != 0) {
		*base = begin;
		strncpy(object, name, 79);
		object[79] = '\0';
	}
	if (p[3] != 'x' || n_texts == (int)ARRAY_SIZE(texts))
		return;
	texts[n_texts] = (struct text){ begin, end, *base, "" };
	strcpy(texts[n_texts++].name, object);
}

static void read_texts(void)
{
	static char buf[8192];
	char object[80] = "";
	uintptr_t base = 0;
	size_t have = 0;
	long n;
	int fd = raw_open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	n_texts = 0;
	while (fd >= 0 && (n = RAW(read, fd, buf + have, sizeof buf - 1 - have)) > 0) {
		char *line = buf, *end;

		have += (size_t)n;
		buf[have] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			take_line(line, object, &base);
		}
		have = strlen(line);
		memmove(buf, line, have + 1);
		if (have == sizeof buf - 1)
			break;
	}
	if (fd >= 0)
		raw_close(fd);
}

static const struct text *text_of(uintptr_t address)
{
	for (int i = 0; i < n_texts; i++)
		if (address - texts[i].begin < texts[i].end - texts[i].begin)
			return &texts[i];
	return NULL;
}

static int put_place(char *out, size_t size, const struct text *t, uintptr_t address)
{
	return t ? snprintf(out, size, "%s+0x%lx", t->name, address - t->base) :
		   snprintf(out, size, "%#lx", address);
}

/* The object of the call's instruction, and the first word on the stack that is an address in
 * another: most likely who called it. */
static void describe(uintptr_t ip, uintptr_t sp, char *out, size_t size)
{
	const struct text *t = text_of(ip), *caller;
	int n = put_place(out, size, t, ip);

	for (uintptr_t p = sp & ~7ul; p < sp + 4096; p += 8) {
		uintptr_t word;

		if ((p & 4095) == 0 && !memory_readable((void *)p))
			return;
		word = *(const uintptr_t *)p;
		caller = text_of(word);
		if (!caller || (t && strcmp(caller->name, t->name) == 0) ||
		    strncmp(caller->name, "ld-", 3) == 0)
			continue;
		n += snprintf(out + n, size - (size_t)n, ", called from ");
		put_place(out + n, size - (size_t)n, caller, word);
		return;
	}
}

/* --- Reporting ---------------------------------------------------------------------------------- */

/* Has this place been reported? */
static bool is_known(uintptr_t ip, long number)
{
	static uintptr_t places[512];
	static int n;
	uintptr_t place = ip << 10 ^ (uintptr_t)number;

	for (int i = 0; i < n; i++)
		if (places[i] == place)
			return true;
	if (n < (int)ARRAY_SIZE(places))
		places[n++] = place;
	return false;
}

static void report(long number, const char *what, const char *path, uintptr_t ip, uintptr_t sp)
{
	char text[800], place[300];

	n_leaks++;
	if (atomic_exchange(&lock, 1))
		return;
	if (!is_known(ip, number)) {
		read_texts();
		describe(ip, sp, place, sizeof place);
		snprintf(text, sizeof text, "process %ld: %s of %s%.300s in %s", RAW(getpid),
			 syscall_name(number), what, path ? path : "", place);
		init_tell("leak", text);
	}
	lock = 0;
	if (dispatch_mode == DISPATCH_ABORT) {
		long pid = RAW(getpid);
		uint64_t act[4] = { 0 };

		RAW(rt_sigaction, SIGABRT, act, 0, 8);
		RAW(kill, pid, SIGABRT);
	}
}

long leak_call(long number, const long a[6], const siginfo_t *info, const ucontext_t *context)
{
	const char *path;
	char what[64];

	if (names_ours(number, a, what, &path) && !is_harmless(number, a))
		report(number, what, path, (uintptr_t)info->si_call_addr,
		       (uintptr_t)context->uc_mcontext.gregs[REG_RSP]);
	if (number == SYS_exit_group && a[0] == 0 && n_leaks > 0)
		return RAW(exit_group, STATUS);
	return raw_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif
