/* The frame of the differential suite.
 *
 *   preload-posix run DIRECTORY [CASE…]   runs cases, each in a directory of its own that it makes and
 *                                         leaves; paths are absolute
 *   preload-posix relative DIRECTORY …    the same with the working directory there and relative paths
 *   preload-posix list                    the cases
 *
 * What it prints names no path and no time, so that two runs can be compared line by line. A case that
 * crashes says so and the next one runs: each is a process of its own. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/utsname.h>

static struct posix_case *cases;
const char *posix_dir;
static const char *case_name = "";
static bool relative;

void posix_register(struct posix_case *c)
{
	struct posix_case **at = &cases;

	while (*at && strcmp((*at)->name, c->name) < 0)
		at = &(*at)->next;
	c->next = *at;
	*at = c;
}

const char *P(const char *name)
{
	static char buf[12][PATH_MAX * 2];
	static int k;
	char *p = buf[k++ % 12];

	if (relative && *name)
		return strcpy(p, name);
	sprintf(p, "%s/%s/%s", posix_dir, case_name, name);
	return p;
}

void say(const char *format, ...)
{
	va_list ap;

	printf("%s: ", case_name);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

long show(const char *what, long r, int error)
{
	if (r == -1 && error)
		say("%s = %s", what, strerrorname_np(error) ? strerrorname_np(error) : "?");
	else
		say("%s = %ld", what, r);
	return r;
}

static void print_facts(const char *what, const struct stat *st)
{
	static const char *const kind[16] = { [1] = "fifo", [2] = "char", [4] = "directory",
					      [6] = "block", [8] = "file", [10] = "link", [12] = "socket" };
	bool is_dir = S_ISDIR(st->st_mode);

	say("  %s: %s %04o links %ld owner %d:%d size %ld", what, kind[st->st_mode >> 12 & 15],
	    st->st_mode & 07777, (long)st->st_nlink, (int)st->st_uid, (int)st->st_gid,
	    is_dir ? 0 : (long)st->st_size);
}

void facts(const char *name)
{
	struct stat st;

	if ((lstat)(P(name), &st) < 0)
		say("  %s: %s", name, strerrorname_np(errno));
	else
		print_facts(name, &st);
}

void facts_fd(int fd)
{
	struct stat st;

	if ((fstat)(fd, &st) < 0)
		say("  descriptor: %s", strerrorname_np(errno));
	else
		print_facts("descriptor", &st);
}

void contents(const char *name)
{
	char buf[4096];
	uint32_t hash = 2166136261u;
	long n, sum = 0;
	int fd = (open)(P(name), O_RDONLY);

	if (fd < 0) {
		say("  contents of %s: %s", name, strerrorname_np(errno));
		return;
	}
	while ((n = (read)(fd, buf, sizeof buf)) > 0)
		for (long i = 0; i < n; i++, sum++)
			hash = (hash ^ (unsigned char)buf[i]) * 16777619u;
	say("  contents of %s: %ld bytes, %08x%s", name, sum, hash, n < 0 ? ", and an error" : "");
	(close)(fd);
}

bool kernel_since(unsigned major, unsigned minor)
{
	unsigned is_major = 0, is_minor = 0;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &is_major, &is_minor) == 2 &&
	       (is_major > major || (is_major == major && is_minor >= minor));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void listing(const char *name)
{
	struct dirent **list;
	int n = scandir(P(name), &list, NULL, by_name);

	if (n < 0) {
		say("  listing of %s: %s", name, strerrorname_np(errno));
		return;
	}
	for (int i = 0; i < n; free(list[i++]))
		say("  %s/ %s type %d", name, list[i]->d_name, list[i]->d_type);
	free(list);
}

int make(const char *name, const char *text)
{
	int fd = (open)(P(name), O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || (write)(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		perror(name);
		abort();
	}
	(lseek)(fd, 0, SEEK_SET);
	return fd;
}

void put(const char *name, const char *text)
{
	(close)(make(name, text));
}

static void ended(int status)
{
	if (WIFSIGNALED(status))
		say("ended by %s", sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		say("exit %d", WEXITSTATUS(status));
}

void in_child(void (*fn)(void))
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fn();
		fflush(stdout);
		exit(0);
	}
	if (waitpid(pid, &status, 0) == pid)
		ended(status);
}

/* Than a machine that is not emulated (functions.sh), and programs without a sanitizer. */
static unsigned slower(void)
{
	const char *times = getenv("FF3FS_TEST_SLOWER");

	return times ? (unsigned)atoi(times) : 1;
}

void signals_come(bool come)
{
	struct itimerval often = { { 0, 30000 }, { 0, 30000 } }, once = { { 0, 0 }, { 60 * slower(), 0 } };

	setitimer(ITIMER_REAL, come ? &often : &once, NULL);
}

static uid_t user;
static gid_t group;
static void (*user_fn)(void);

static void become(void)
{
	(umask)(022);
	if (setgroups(0, NULL) < 0 || setresgid(group, group, group) < 0 ||
	    setresuid(user, user, user) < 0)
		abort();
	user_fn();
}

void as_user(uid_t uid, gid_t gid, void (*fn)(void))
{
	user = uid;
	group = gid;
	user_fn = fn;
	in_child(become);
}

static int run(struct posix_case *c)
{
	char path[PATH_MAX];
	pid_t pid;
	int status;

	case_name = c->name;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		snprintf(path, sizeof path, "%s/%s", posix_dir, c->name);
		(umask)(022);
		if ((mkdir)(path, 0777) < 0 || (chmod)(path, 0777) < 0 ||
		    (relative && (chdir)(path) < 0)) {
			perror(path);
			abort();
		}
		alarm(60 * slower()); /* a hang is a failure too */
		c->run();
		fflush(stdout);
		exit(0);
	}
	if (waitpid(pid, &status, 0) == pid)
		ended(status);
	return 0;
}

static bool wanted(const char *name, char **list)
{
	bool none = !*list;

	for (; *list; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return none;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "list") == 0) {
		for (struct posix_case *c = cases; c; c = c->next)
			puts(c->name);
		return 0;
	}
	if (argc < 3)
		return 2;
	posix_dir = argv[2];
	relative = strcmp(argv[1], "relative") == 0;
	for (struct posix_case *c = cases; c; c = c->next)
		if (wanted(c->name, argv + 3))
			run(c);
	return 0;
}
