/* Bad pointers: each pointer argument of each call is in turn null, one, beyond user space, unmapped, read
 * only, and at the very end of what is mapped; the answer is EFAULT where the kernel's is, never a
 * crash that the local file system does not show. Every call by its function, and by its number. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <dlfcn.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>

#define HOLE (1ul << 30)

enum kind {
	END, /* of the arguments */
	INT, /* value in .value */
	FD,  /* a file, O_RDWR */
	WFD, /* another one */
	DFD, /* a directory */
	CWD, /* AT_FDCWD */
	PATH, /* of a file that exists */
	FREE, /* of one that does not */
	DIRP, /* of a directory */
	IN,  /* size .value is read */
	OUT, /* size .value is written */
	IOV, /* one iovec, a good one */
	STR, /* "user.x" */
	TPL, /* a template of mkstemp */
};

struct arg {
	enum kind kind;
	long value;
};

struct call {
	const char *name;
	long number; /* or -1 */
	bool positive; /* the function returns an error number */
	struct arg args[6];
};

#define A(k, v) { k, v }
static const struct call calls[] = {
	{ "open", SYS_open, 0, { A(PATH, 0), A(INT, O_RDONLY) } },
	{ "openat", SYS_openat, 0, { A(CWD, 0), A(PATH, 0), A(INT, O_RDONLY) } },
	{ "creat", SYS_creat, 0, { A(FREE, 0), A(INT, 0600) } },
	{ NULL, SYS_openat2, 0, { A(CWD, 0), A(PATH, 0), A(IN, 24), A(INT, 24) } },
	{ "__open_2", -1, 0, { A(PATH, 0), A(INT, O_RDONLY) } },
	{ "__openat_2", -1, 0, { A(DFD, 0), A(PATH, 0), A(INT, O_RDONLY) } },
	{ "read", SYS_read, 0, { A(FD, 0), A(OUT, 8), A(INT, 8) } },
	{ "pread", SYS_pread64, 0, { A(FD, 0), A(OUT, 8), A(INT, 8), A(INT, 0) } },
	{ "readv", SYS_readv, 0, { A(FD, 0), A(IOV, 1), A(INT, 1) } },
	{ "preadv", SYS_preadv, 0, { A(FD, 0), A(IOV, 1), A(INT, 1), A(INT, 0), A(INT, 0) } },
	{ "preadv2", SYS_preadv2, 0, { A(FD, 0), A(IOV, 1), A(INT, 1), A(INT, 0), A(INT, 0), A(INT, 0) } },
	{ "write", SYS_write, 0, { A(FD, 0), A(IN, 8), A(INT, 8) } },
	{ "pwrite", SYS_pwrite64, 0, { A(FD, 0), A(IN, 8), A(INT, 8), A(INT, 0) } },
	{ "writev", SYS_writev, 0, { A(FD, 0), A(IOV, 0), A(INT, 1) } },
	{ "pwritev", SYS_pwritev, 0, { A(FD, 0), A(IOV, 0), A(INT, 1), A(INT, 0), A(INT, 0) } },
	{ "pwritev2", SYS_pwritev2, 0, { A(FD, 0), A(IOV, 0), A(INT, 1), A(INT, 0), A(INT, 0), A(INT, 0) } },
	{ "truncate", SYS_truncate, 0, { A(PATH, 0), A(INT, 5) } },
	{ "stat", SYS_stat, 0, { A(PATH, 0), A(OUT, sizeof(struct stat)) } },
	{ "lstat", SYS_lstat, 0, { A(PATH, 0), A(OUT, sizeof(struct stat)) } },
	{ "fstat", SYS_fstat, 0, { A(FD, 0), A(OUT, sizeof(struct stat)) } },
	{ "fstatat", SYS_newfstatat, 0, { A(CWD, 0), A(PATH, 0), A(OUT, sizeof(struct stat)), A(INT, 0) } },
	{ "statx", SYS_statx, 0,
	  { A(CWD, 0), A(PATH, 0), A(INT, 0), A(INT, STATX_BASIC_STATS), A(OUT, sizeof(struct statx)) } },
	{ "access", SYS_access, 0, { A(PATH, 0), A(INT, R_OK) } },
	{ "faccessat", SYS_faccessat, 0, { A(CWD, 0), A(PATH, 0), A(INT, R_OK) } },
	{ NULL, SYS_faccessat2, 0, { A(CWD, 0), A(PATH, 0), A(INT, R_OK), A(INT, 0) } },
	{ "chmod", SYS_chmod, 0, { A(PATH, 0), A(INT, 0644) } },
	{ "fchmodat", SYS_fchmodat, 0, { A(CWD, 0), A(PATH, 0), A(INT, 0644), A(INT, 0) } },
	{ "chown", SYS_chown, 0, { A(PATH, 0), A(INT, -1), A(INT, -1) } },
	{ "lchown", SYS_lchown, 0, { A(PATH, 0), A(INT, -1), A(INT, -1) } },
	{ "fchownat", SYS_fchownat, 0, { A(CWD, 0), A(PATH, 0), A(INT, -1), A(INT, -1), A(INT, 0) } },
	{ "utime", SYS_utime, 0, { A(PATH, 0), A(IN, 16) } },
	{ "utimes", SYS_utimes, 0, { A(PATH, 0), A(IN, 32) } },
	{ "lutimes", -1, 0, { A(PATH, 0), A(IN, 32) } },
	{ "futimes", -1, 0, { A(FD, 0), A(IN, 32) } },
	{ "futimesat", SYS_futimesat, 0, { A(CWD, 0), A(PATH, 0), A(IN, 32) } },
	{ "utimensat", SYS_utimensat, 0, { A(CWD, 0), A(PATH, 0), A(IN, 32), A(INT, 0) } },
	{ "futimens", -1, 0, { A(FD, 0), A(IN, 32) } },
	{ "getxattr", SYS_getxattr, 0, { A(PATH, 0), A(STR, 0), A(OUT, 2), A(INT, 2) } },
	{ "lgetxattr", SYS_lgetxattr, 0, { A(PATH, 0), A(STR, 0), A(OUT, 2), A(INT, 2) } },
	{ "fgetxattr", SYS_fgetxattr, 0, { A(FD, 0), A(STR, 0), A(OUT, 2), A(INT, 2) } },
	{ "setxattr", SYS_setxattr, 0, { A(PATH, 0), A(STR, 0), A(IN, 2), A(INT, 2), A(INT, 0) } },
	{ "lsetxattr", SYS_lsetxattr, 0, { A(PATH, 0), A(STR, 0), A(IN, 2), A(INT, 2), A(INT, 0) } },
	{ "fsetxattr", SYS_fsetxattr, 0, { A(FD, 0), A(STR, 0), A(IN, 2), A(INT, 2), A(INT, 0) } },
	{ "listxattr", SYS_listxattr, 0, { A(PATH, 0), A(OUT, 64), A(INT, 64) } },
	{ "llistxattr", SYS_llistxattr, 0, { A(PATH, 0), A(OUT, 64), A(INT, 64) } },
	{ "flistxattr", SYS_flistxattr, 0, { A(FD, 0), A(OUT, 64), A(INT, 64) } },
	{ "removexattr", SYS_removexattr, 0, { A(PATH, 0), A(STR, 0) } },
	{ "lremovexattr", SYS_lremovexattr, 0, { A(PATH, 0), A(STR, 0) } },
	{ "fremovexattr", SYS_fremovexattr, 0, { A(FD, 0), A(STR, 0) } },
	{ "statfs", SYS_statfs, 0, { A(PATH, 0), A(OUT, sizeof(struct statfs)) } },
	{ "fstatfs", SYS_fstatfs, 0, { A(FD, 0), A(OUT, sizeof(struct statfs)) } },
	{ "statvfs", -1, 0, { A(PATH, 0) } },
	{ "pathconf", -1, 0, { A(PATH, 0), A(INT, _PC_NAME_MAX) } },
	{ "getdents64", SYS_getdents64, 0, { A(DFD, 0), A(OUT, 512), A(INT, 512) } },
	{ NULL, SYS_getdents, 0, { A(DFD, 0), A(OUT, 512), A(INT, 512) } },
	{ "mkdir", SYS_mkdir, 0, { A(FREE, 0), A(INT, 0755) } },
	{ "mkdirat", SYS_mkdirat, 0, { A(CWD, 0), A(FREE, 0), A(INT, 0755) } },
	{ "rmdir", SYS_rmdir, 0, { A(DIRP, 0) } },
	{ "unlink", SYS_unlink, 0, { A(PATH, 0) } },
	{ "unlinkat", SYS_unlinkat, 0, { A(CWD, 0), A(PATH, 0), A(INT, 0) } },
	{ "remove", -1, 0, { A(PATH, 0) } },
	{ "rename", SYS_rename, 0, { A(PATH, 0), A(FREE, 0) } },
	{ "renameat", SYS_renameat, 0, { A(CWD, 0), A(PATH, 0), A(CWD, 0), A(FREE, 0) } },
	{ "renameat2", SYS_renameat2, 0, { A(CWD, 0), A(PATH, 0), A(CWD, 0), A(FREE, 0), A(INT, 0) } },
	{ "link", SYS_link, 0, { A(PATH, 0), A(FREE, 0) } },
	{ "linkat", SYS_linkat, 0, { A(CWD, 0), A(PATH, 0), A(CWD, 0), A(FREE, 0), A(INT, 0) } },
	{ "symlink", SYS_symlink, 0, { A(STR, 0), A(FREE, 0) } },
	{ "symlinkat", SYS_symlinkat, 0, { A(STR, 0), A(CWD, 0), A(FREE, 0) } },
	{ "readlink", SYS_readlink, 0, { A(FREE, 1), A(OUT, 4), A(INT, 4) } },
	{ "readlinkat", SYS_readlinkat, 0, { A(CWD, 0), A(FREE, 1), A(OUT, 4), A(INT, 4) } },
	{ "mknod", SYS_mknod, 0, { A(FREE, 0), A(INT, S_IFREG | 0600), A(INT, 0) } },
	{ "mknodat", SYS_mknodat, 0, { A(CWD, 0), A(FREE, 0), A(INT, S_IFREG | 0600), A(INT, 0) } },
	{ "chdir", SYS_chdir, 0, { A(DIRP, 0) } },
	{ NULL, SYS_getcwd, 0, { A(OUT, 4096), A(INT, 4096) } },
	{ "sendfile", SYS_sendfile, 0, { A(WFD, 0), A(FD, 0), A(IN, 8), A(INT, 4) } },
	{ "copy_file_range", SYS_copy_file_range, 0,
	  { A(FD, 0), A(IN, 8), A(WFD, 0), A(IN, 8), A(INT, 4), A(INT, 0) } },
	{ "fcntl", SYS_fcntl, 0, { A(FD, 0), A(INT, F_GETLK), A(IN, sizeof(struct flock)) } },
	{ "fcntl", SYS_fcntl, 0, { A(FD, 0), A(INT, F_SETLK), A(IN, sizeof(struct flock)) } },
	{ "ioctl", SYS_ioctl, 0, { A(FD, 0), A(INT, FIONREAD), A(OUT, 4) } },
	{ "scandir", -1, 0, { A(DIRP, 0), A(OUT, 8), A(INT, 0), A(INT, 0) } },
	{ "mkstemp", -1, 0, { A(TPL, 0) } },
	{ "inotify_add_watch", SYS_inotify_add_watch, 0, { A(INT, 99), A(PATH, 0), A(INT, 0) } },
	{ "chroot", SYS_chroot, 0, { A(FREE, 0) } },
	{ "execve", SYS_execve, 0, { A(FREE, 0), A(INT, 0), A(INT, 0) } },
	{ "utimensat", SYS_utimensat, 0, { A(FD, 0), A(INT, 0), A(IN, 32), A(INT, 0) } },
};

static sigjmp_buf back;
static char *page, *read_only;
static struct iovec good;
static char good_bytes[8192];

static void on_fault(int number)
{
	siglongjmp(back, number);
}

static void fresh(void)
{
	put("f", "0123456789");
	put("w", "abc");
	(unlink)(P("free")), (rmdir)(P("free")), (unlink)(P("sym"));
	(mkdir)(P("e"), 0755);
	(symlink)("target", P("sym"));
	(setxattr)(P("f"), "user.x", "v", 1, 0);
}

/* What a good argument is. */
static long good_of(const struct arg *a, int fds[3], char *room)
{
	switch (a->kind) {
	case INT:
		return a->value;
	case FD:
	case WFD:
	case DFD:
		return fds[a->kind - FD];
	case CWD:
		return AT_FDCWD;
	case PATH:
		return (long)strcpy(room, P("f"));
	case FREE:
		return (long)strcpy(room, P(a->value ? "sym" : "free"));
	case DIRP:
		return (long)strcpy(room, P("e"));
	case TPL:
		return (long)strcpy(room, P("tXXXXXX"));
	case STR:
		return (long)strcpy(room, "user.x");
	case IOV:
		good = (struct iovec){ good_bytes, 8 };
		return (long)&good;
	default:
		memset(room, 0, 4096);
		return (long)room;
	}
}

static bool is_pointer(enum kind k)
{
	return k >= PATH;
}

/* The k-th bad pointer for an argument, or -1 when there are no more. */
static long bad_of(const struct arg *a, int k, const char **ret_what)
{
	static const char *const what[] = { "null", "one", "kernel", "minus one", "unmapped", "at the end",
					    "read only" };
	bool text = a->kind == PATH || a->kind == FREE || a->kind == DIRP || a->kind == STR || a->kind == TPL;
	long size = a->kind == IOV ? (long)sizeof(struct iovec) : a->value;

	*ret_what = what[k];
	switch (k) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return (long)0xffff800000000000ul;
	case 3:
		return -1;
	case 4:
		return (long)(page + 4096);
	case 5: /* the last bytes of a page with nothing behind it */
		memset(page, text ? 'x' : 0, 4096);
		return (long)(page + 4096 - (text ? 3 : size > 1 ? size - 1 : 1));
	case 6:
		return (long)read_only;
	}
	return 0;
}

static long invoke(const struct call *c, bool by_number, const long v[6])
{
	long (*fn)(long, long, long, long, long, long);

	if (by_number)
		return syscall(c->number, v[0], v[1], v[2], v[3], v[4], v[5]);
	*(void **)&fn = dlsym(RTLD_DEFAULT, c->name);
	return (long)(int)fn(v[0], v[1], v[2], v[3], v[4], v[5]);
}

static void try(const struct call *c, bool by_number, int bad, int k)
{
	static char rooms[6][PATH_MAX];
	int fds[3] = { (open)(P("f"), O_RDWR), (open)(P("w"), O_RDWR), (open)(P(""), O_RDONLY) };
	const char *what = "good";
	long v[6] = { 0 }, r;
	int fault;

	for (int i = 0; i < 6 && c->args[i].kind != END; i++)
		v[i] = good_of(&c->args[i], fds, rooms[i]);
	if (bad >= 0)
		v[bad] = bad_of(&c->args[bad], k, &what);
	fault = sigsetjmp(back, 1);
	if (fault == 0) {
		errno = 0;
		r = invoke(c, by_number, v);
		/* Read only pages are bad for what is written only; counts are the calls' own. */
		if (r == -1)
			say("%s%s argument %d %s: %s", by_number ? "SYS_" : "", c->name ? c->name : "?",
			    bad, what, strerrorname_np(errno));
		else
			say("%s%s argument %d %s: taken", by_number ? "SYS_" : "", c->name ? c->name : "?",
			    bad, what);
	} else {
		say("%s%s argument %d %s: %s", by_number ? "SYS_" : "", c->name ? c->name : "?", bad, what,
		    sigabbrev_np(fault));
	}
	(close_range)(3, ~0u, 0);
}

CASE(pointers)
{
	char old[PATH_MAX];

	(getcwd)(old, sizeof old);
	/* Behind it there is nothing, and will be nothing, since room is taken from its upper end. */
	page = mmap(NULL, HOLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	munmap(page + 4096, HOLE - 4096);
	read_only = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		for (int by_number = 0; by_number < 2; by_number++) {
			const struct call *c = &calls[i];

			if (by_number ? c->number < 0 : !c->name)
				continue;
			fresh();
			try(c, by_number, -1, 0);
			for (int a = 0; a < 6 && c->args[a].kind != END; a++)
				for (int k = 0; is_pointer(c->args[a].kind) && k < 7; k++) {
					if (k == 0 || k == 6)
						fresh();
					try(c, by_number, a, k);
					(chdir)(old);
				}
		}
}
