/* Purpose: programs that live below a prefix, and leaving this program for another.
 *
 * The kernel cannot execute a file of ours. A program is read into a memfd, which is executed; a
 * script's first line is read here, and its interpreter executed with the script's path, which
 * the interpreter opens through the shim. Where there is a mount (mount.h), programs are executed from
 * there. Without one, two things differ from it: /proc/self/exe names a
 * memfd (so $ORIGIN does not work), and a native script whose interpreter is below a prefix is
 * opened by the kernel, which does not find it.
 *
 * Before exec and exit, gathered writes are sent. Between vfork and exec the client must not be
 * used: a forked process reads the program instead (fork_run).
 *
 * Threads, signals: as exec; lists of arguments are mappings (exec_args.c). */
#include "hook.h"

#include <alloca.h>
#include <linux/memfd.h>
#include <stdarg.h>
#include <stdio.h>

#include "mount.h"
#include "raw.h"
#include "shared_map.h"

extern char **environ;

#define HEAD 256 /* of a script's first line, as the kernel */
#define DEPTH 4  /* interpreters of interpreters, as the kernel */

/* --- Fetching a program -------------------------------------------------------------------- */

struct program {
	int memfd;
	char head[HEAD];
	char native[PATH_MAX]; /* set if a link led out, or there is a mount */
};

struct fetch {
	const char *path;
	int memfd;
};

static int read_program(struct where *w, struct ff3fs_file *file, struct program *p)
{
	static const size_t piece = 1 << 20;
	_cleanup_free_ char *buf = malloc(piece);
	off_t at = 0;
	ssize_t n = CALL(pread, file, p->head, sizeof p->head - 1, 0);

	if (n < 0)
		return (int)n;
	/* A script keeps the name by which it was called. */
	if (memcmp(p->head, "#!", 2) != 0 &&
	    mount_for_exec(w->fs, CALL(file_ino, file), p->native))
		return 0;
	p->native[0] = '\0';
	if (!buf)
		return -ENOMEM;
	while ((n = CALL(pread, file, buf, piece, at)) > 0) {
		if (space_pwrite(p->memfd, buf, n, at) != n)
			return -ENOMEM;
		at += n;
	}
	return (int)n;
}

/* fork_run's: everything that needs the client. */
static int fetch(void *arg, void *out)
{
	const struct fetch *f = arg;
	struct program *p = out;
	struct ff3fs_file *file;
	struct ff3fs_attr a;
	struct where w;
	int r = where_init(&w, AT_FDCWD, f->path, 0), again;

	memset(p, 0, sizeof *p);
	p->memfd = f->memfd;
	if (r == 0)
		return -ENOENT;
	while (r > 0)
		r = where_next(&w, CALL(stat, w.fs, w.dir, w.path, 0, &a));
	if (r < 0)
		return r;
	if (w.native) {
		strcpy(p->native, w.native);
		return 0;
	}
	if (!S_ISREG(a.mode) || !(a.mode & 0111))
		return -EACCES;
	again = CALL(access, w.fs, a.ino, "", X_OK, 0);
	if (again < 0)
		return again;
	r = CALL(open_inode, w.fs, a.ino, O_RDONLY, &file);
	if (r < 0)
		return r;
	r = read_program(&w, file, p);
	CALL(close, file);
	return r;
}

/* 0 and a memfd in p->memfd, or p->native. */
static int get_program(const char *path, struct program *p)
{
	struct fetch f = { path, (int)RAW(memfd_create, "ff3fs-exec", MFD_CLOEXEC) };
	int r;

	if (f.memfd < 0)
		return f.memfd;
	r = init_is_vfork_child() ? fork_run(fetch, &f, p, sizeof *p) : fetch(&f, p);
	p->memfd = f.memfd;
	if (r < 0 || p->native[0])
		raw_close(f.memfd);
	return r;
}

/* --- Executing it -------------------------------------------------------------------------- */

/* How many there are, or -EFAULT. What they point to is the kernel's to look at. */
static int count(char *const argv[])
{
	int n = 0;

	for (; argv; n++) {
		const char *p = (const char *)&argv[n];

		if ((n == 0 || ((uintptr_t)p + 7) % 4096 < 8) &&
		    !(memory_readable(p) && memory_readable(p + 7)))
			return -EFAULT;
		if (!argv[n])
			break;
	}
	return n;
}

/* "#! interpreter argument": cut in place. NULL if there is none. */
static char *parse_script(char *head, char **ret_argument)
{
	char *s = head + 2, *end = strpbrk(head, "\n"), *argument;

	if (end)
		*end = '\0';
	s += strspn(s, " \t");
	if (!*s)
		return NULL;
	argument = s + strcspn(s, " \t");
	if (*argument) {
		*argument++ = '\0';
		argument += strspn(argument, " \t");
		for (end = argument + strlen(argument); end > argument; end--)
			if (end[-1] != ' ' && end[-1] != '\t' && end[-1] != '\r')
				break;
		*end = '\0';
	}
	*ret_argument = *argument ? argument : NULL;
	return s;
}

/* What interprets a script is called with. NULL: no memory. */
static char **script_args(char *interpreter, char *argument, const char *path, char *const argv[], int n)
{
	char **args = exec_args_new((size_t)n + 4);
	int k = 0;

	if (!args)
		return NULL;
	args[k++] = interpreter;
	if (argument)
		args[k++] = argument;
	args[k++] = (char *)(uintptr_t)path;
	for (int i = 1; i < n; i++)
		args[k++] = argv[i];
	args[k] = NULL;
	return args;
}

static int execute(const char *path, char *const argv[], char *const envp[], int depth);

static int execute_script(char *head, const char *path, char *const argv[], char *const envp[],
			  int depth)
{
	int n = count(argv), r;
	char **args, *argument, *interpreter = parse_script(head, &argument);

	if (n < 0 || (n > 0 && !string_readable(argv[0]))) /* which nobody will look at */
		return -EFAULT;
	if (!interpreter)
		return -ENOEXEC;
	args = script_args(interpreter, argument, path, argv, n);
	if (!args)
		return -ENOMEM;
	r = execute(interpreter, args, envp, depth + 1);
	exec_args_free(args);
	return r;
}

/* Returns only on failure. */
static int execute(const char *path, char *const argv[], char *const envp[], int depth)
{
	struct program p;
	int r;

	if (depth > DEPTH)
		return -ELOOP;
	if (!where_is_ours(AT_FDCWD, path))
		return (int)RAW(execve, path, argv, envp);
	r = get_program(path, &p);
	if (r < 0)
		return r;
	if (p.native[0])
		return (int)RAW(execve, p.native, argv, envp);
	if (p.head[0] == '#' && p.head[1] == '!')
		r = execute_script(p.head, path, argv, envp, depth);
	else
		r = (int)RAW(execveat, p.memfd, "", argv, envp, AT_EMPTY_PATH);
	raw_close(p.memfd);
	return r;
}

/* Nothing of this program may be lost with it. */
static void leave_program(void)
{
	shared_map_send_all();
	sync_everything();
	lock_exec();
}

int hook_execve(const char *path, char *const argv[], char *const envp[])
{
	leave_program();
	if (LIKELY(!where_is_ours(AT_FDCWD, path)))
		return REAL(execve)(path, argv, envp);
	return (int)hook_result(execute(path, argv, envp, 0));
}

int hook_execv(const char *path, char *const argv[])
{
	return hook_execve(path, argv, environ);
}

int hook_fexecve(int fd, char *const argv[], char *const envp[])
{
	char path[32];

	leave_program();
	if (LIKELY(!fdtab_is_ours(fd)))
		return REAL(fexecve)(fd, argv, envp);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return (int)hook_result(execute(path, argv, envp, 0));
}

/* A script is told the directory's descriptor in its name, as the kernel does. */
static int execute_at(int dirfd, const char *name, char *const argv[], char *const envp[], int flags)
{
	char path[PATH_MAX];
	struct stat st;

	if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return (int)hook_result(-EINVAL);
	if (!name[0])
		return flags & AT_EMPTY_PATH ? hook_fexecve(dirfd, argv, envp) :
					       (int)hook_result(-ENOENT);
	if (flags & AT_SYMLINK_NOFOLLOW) {
		if (hook_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -1;
		if (S_ISLNK(st.st_mode))
			return (int)hook_result(-ELOOP);
	}
	if (name[0] == '/' || dirfd == AT_FDCWD)
		return hook_execve(name, argv, envp);
	if ((size_t)snprintf(path, sizeof path, "/dev/fd/%d/%s", dirfd, name) >= sizeof path)
		return (int)hook_result(-ENAMETOOLONG);
	return hook_execve(path, argv, envp);
}

int hook_execveat(int dirfd, const char *name, char *const argv[], char *const envp[], int flags)
{
	bool ours;

	if (!string_readable(name))
		return (int)hook_result(-EFAULT);
	ours = *name || !(flags & AT_EMPTY_PATH) ? where_is_ours(dirfd, name) : fdtab_is_ours(dirfd);
	if (UNLIKELY(ours))
		return execute_at(dirfd, name, argv, envp, flags);
	leave_program();
	return (int)hook_raw(RAW(execveat, dirfd, name, argv, envp, flags));
}

/* --- Looking in PATH ----------------------------------------------------------------------- */

/* Does PATH name a directory of ours? Only then the search is ours to do. */
static bool search_is_ours(const char *file)
{
	const char *list = getenv("PATH");
	char dir[PATH_MAX];

	if (!init_active() || !file || strchr(file, '/'))
		return init_active() && file && where_is_ours(AT_FDCWD, file);
	while (list && *list) {
		size_t n = strcspn(list, ":");

		if (n < sizeof dir) {
			memcpy(dir, list, n);
			dir[n] = '\0';
			if (where_is_ours(AT_FDCWD, n ? dir : "."))
				return true;
		}
		list += n + (list[n] == ':');
	}
	return false;
}

/* The first executable file of that name in PATH. */
static bool find_in_path(const char *file, char path[PATH_MAX])
{
	struct stat st;

	if (strchr(file, '/'))
		return strlen(file) < PATH_MAX && strcpy(path, file);
	for (const char *p = getenv("PATH"); p && *p;) {
		size_t n = strcspn(p, ":");

		if ((size_t)snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, p, n ? "/" : "", file) <
			    PATH_MAX &&
		    hook_stat(path, &st) == 0 && S_ISREG(st.st_mode) && hook_access(path, X_OK) == 0)
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

/* A file that is no program and no script is one for the shell, as execvp has it. */
static int execute_or_shell(const char *path, char *const argv[], char *const envp[])
{
	int r = execute(path, argv, envp, 0), n = count(argv);
	char **args;

	if (r != -ENOEXEC || n < 0)
		return r;
	args = script_args((char *)(uintptr_t)"/bin/sh", NULL, path, argv, n);
	if (!args)
		return -ENOMEM;
	r = execute("/bin/sh", args, envp, 0);
	exec_args_free(args);
	return r;
}

static int search(const char *file, char *const argv[], char *const envp[])
{
	const char *list = getenv("PATH");
	char path[PATH_MAX];
	int r = -ENOENT, seen = -ENOENT;

	if (strchr(file, '/'))
		return execute_or_shell(file, argv, envp);
	if (!*file)
		return -ENOENT;
	for (const char *p = list ? list : "/bin:/usr/bin"; *p;) {
		size_t n = strcspn(p, ":");

		if ((size_t)snprintf(path, sizeof path, "%.*s%s%s", (int)n, p, n ? "/" : "", file) <
		    sizeof path) {
			r = execute_or_shell(path, argv, envp);
			if (r == -EACCES)
				seen = r;
			else if (r != -ENOENT && r != -ENOTDIR && r != -ESTALE && r != -ENODEV &&
				 r != -ETIMEDOUT)
				return r;
		}
		p += n + (p[n] == ':');
	}
	return seen;
}

int hook_execvpe(const char *file, char *const argv[], char *const envp[])
{
	leave_program();
	if (LIKELY(!search_is_ours(file)))
		return REAL(execvpe)(file, argv, envp);
	return (int)hook_result(search(file, argv, envp));
}

int hook_execvp(const char *file, char *const argv[])
{
	return hook_execvpe(file, argv, environ);
}

/* --- The ones with a list ------------------------------------------------------------------ */

static int count_list(va_list ap)
{
	int n = 1;

	while (va_arg(ap, char *))
		n++;
	return n;
}

/* Makes `argv` from the arguments after `arg`; `ap` is left behind the NULL. */
#define TAKE_LIST(argv, arg, ap)                                                                   \
	va_list ap;                                                                                \
	char **argv;                                                                               \
	int n_##argv = 0;                                                                          \
	va_start(ap, arg);                                                                         \
	argv = alloca(sizeof *argv * (size_t)(count_list(ap) + 1));                                \
	va_end(ap);                                                                                \
	va_start(ap, arg);                                                                         \
	argv[0] = (char *)(uintptr_t)arg;                                                          \
	while (argv[n_##argv])                                                                     \
		argv[++n_##argv] = va_arg(ap, char *)

int hook_execl(const char *path, const char *arg, ...)
{
	TAKE_LIST(argv, arg, ap);

	va_end(ap);
	return hook_execve(path, argv, environ);
}

int hook_execlp(const char *file, const char *arg, ...)
{
	TAKE_LIST(argv, arg, ap);

	va_end(ap);
	return hook_execvpe(file, argv, environ);
}

int hook_execle(const char *path, const char *arg, ...)
{
	char *const *envp;
	TAKE_LIST(argv, arg, ap);

	envp = va_arg(ap, char *const *);
	va_end(ap);
	return hook_execve(path, argv, envp);
}

/* --- Starting children --------------------------------------------------------------------- */

/* posix_spawn executes inside libc: it gets a native name of the program. */
static int spawn_ours(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		      const posix_spawnattr_t *attr, char *const argv[], char *const envp[], int depth)
{
	struct program p;
	char native[32], *argument, **args, *interpreter;
	int r, n = count(argv);

	if (depth > DEPTH || n < 0)
		return n < 0 ? -n : ELOOP;
	if (!where_is_ours(AT_FDCWD, path))
		return REAL(posix_spawn)(pid, path, actions, attr, argv, envp);
	r = get_program(path, &p);
	if (r < 0)
		return -r;
	if (p.native[0])
		return REAL(posix_spawn)(pid, p.native, actions, attr, argv, envp);
	if (p.head[0] == '#' && p.head[1] == '!') {
		raw_close(p.memfd);
		interpreter = parse_script(p.head, &argument);
		if (!interpreter)
			return ENOEXEC;
		args = script_args(interpreter, argument, path, argv, n);
		if (!args)
			return ENOMEM;
		r = spawn_ours(pid, interpreter, actions, attr, args, envp, depth + 1);
		exec_args_free(args);
		return r;
	}
	snprintf(native, sizeof native, "/proc/self/fd/%d", p.memfd);
	r = REAL(posix_spawn)(pid, native, actions, attr, argv, envp);
	raw_close(p.memfd);
	return r;
}

int hook_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	char buf[PATH_MAX];
	const char *ours;

	flush_everything();
	ours = spawn_path(actions, path, buf);
	if (LIKELY(!ours || !where_is_ours(AT_FDCWD, ours)))
		return REAL(posix_spawn)(pid, path, actions, attr, argv, envp);
	return spawn_ours(pid, ours, actions, attr, argv, envp, 0);
}

int hook_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		      const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	char path[PATH_MAX];

	flush_everything();
	if (UNLIKELY(search_is_ours(file) && find_in_path(file, path)))
		return hook_posix_spawn(pid, path, actions, attr, argv, envp);
	if (strchr(file, '/'))
		return hook_posix_spawn(pid, file, actions, attr, argv, envp);
	return REAL(posix_spawnp)(pid, file, actions, attr, argv, envp);
}

int hook_system(const char *command)
{
	flush_everything();
	return REAL(system)(command);
}

FILE *hook_popen(const char *command, const char *mode)
{
	flush_everything();
	return REAL(popen)(command, mode);
}

__attribute__((noreturn)) void hook__exit(int status)
{
	init_leave();
	for (;;) {
		if (real._exit)
			real._exit(status);
		RAW(exit_group, status);
	}
}

__attribute__((noreturn)) void hook__Exit(int status)
{
	hook__exit(status);
}

DEFINE_ALIASES(exec)
