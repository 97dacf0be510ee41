/* Purpose: the constructor. Decides whether there is anything to do in this process, finds the
 * functions behind ours, and takes up what was inherited: the working directory and fds 0 to 2.
 * It must stay cheap (every process of a job runs it): a handful of system calls, no allocation,
 * and the core is not loaded.
 *
 * Inert: FF3FS_DISABLE set, AT_SECURE, not glibc, or no prefix known. The prefixes are
 * $FF3FS_PREFIX or $FF3FS_CLIENT_PREFIX, else [client] prefix of $FF3FS_CONF, else of
 * ~/.config/ff3fs/ff3fs.conf and of SYSCONFDIR/ff3fs/ff3fs.conf; a file without that key means
 * the default, no file at all means none.
 *
 * Threads: the constructor runs before there are any. `real` is filled by single stores of the
 * same value. Fork/signal: nothing held. */
#include "init.h"

#include <gnu/libc-version.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "../common/base/conf_keys.h"
#include "calls.h"
#include "dispatch.h"
#include "hook.h"
#include "raw.h"
#include "shared_map.h"

bool init_ready, init_enabled, init_exiting;
struct hook_real real;

static const char *log_path;

/* --- The functions behind ours ------------------------------------------------------------- */

struct real_row {
	const char *name;
	uint32_t offset;
	bool eager;
};

#define E true
#define L false
#define REAL_ROW(when, ret, name, params) { #name, offsetof(struct hook_real, name), when },
static const struct real_row real_rows[] = { HOOKS_ALL(REAL_ROW, HOOK_NOTHING) };
#undef E
#undef L

/* Memory allocators call these before our constructor has run, when looking symbols up could
 * call the allocator again. */
static int early_open(const char *path, int flags, ...)
{
	return (int)hook_raw(RAW(openat, AT_FDCWD, path, flags, 0));
}

static int early_openat(int dirfd, const char *path, int flags, ...)
{
	return (int)hook_raw(RAW(openat, dirfd, path, flags, 0));
}

static ssize_t early_read(int fd, void *buf, size_t n)
{
	return hook_raw(RAW(read, fd, buf, n));
}

static ssize_t early_write(int fd, const void *buf, size_t n)
{
	return hook_raw(RAW(write, fd, buf, n));
}

static int early_close(int fd)
{
	return (int)hook_raw(RAW(close, fd));
}

static ssize_t early_readlink(const char *path, char *buf, size_t n)
{
	return hook_raw(RAW(readlinkat, AT_FDCWD, path, buf, n));
}

static void *early_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	long r = RAW(mmap, addr, len, prot, flags, fd, offset);

	return r < 0 && r > -4096 ? (errno = (int)-r, MAP_FAILED) : (void *)r;
}

static int early_munmap(void *addr, size_t len)
{
	return (int)hook_raw(RAW(munmap, addr, len));
}

static int early_mprotect(void *addr, size_t len, int prot)
{
	return (int)hook_raw(RAW(mprotect, addr, len, prot));
}

static int early_madvise(void *addr, size_t len, int advice)
{
	return (int)hook_raw(RAW(madvise, addr, len, advice));
}

static const struct {
	uint32_t offset;
	void *function;
} early[] = {
#define EARLY(name) { offsetof(struct hook_real, name), (void *)early_##name }
	EARLY(open), EARLY(openat), EARLY(read),   EARLY(write),   EARLY(close),
	EARLY(mmap), EARLY(munmap), EARLY(mprotect), EARLY(readlink),
	EARLY(madvise),
};

/* Of the C library's first release for the machine. */
#if defined(__x86_64__)
#define BASE_VERSION "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define BASE_VERSION "GLIBC_2.17"
#endif
/* Weak: another libc lacks it. */
extern __typeof__(dlvsym) dlvsym __attribute__((weak));

/* realloc has to be that of the allocator whose malloc and free the program calls. The linker finds those by their
 * version, or without any (jemalloc). libc_malloc_debug has no default ones, so that dlsym passes it over. */
static void *behind_us(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name), *versioned = NULL;
	Dl_info its, of_malloc;

#ifdef BASE_VERSION
	if (strcmp(name, "realloc") == 0 && dlvsym)
		versioned = dlvsym(RTLD_NEXT, name, BASE_VERSION);
#endif
	if (versioned && versioned != found && dladdr(versioned, &its) && dladdr((void *)malloc, &of_malloc) &&
	    its.dli_fbase == of_malloc.dli_fbase)
		found = versioned;
	return found;
}

void *real_resolve(size_t offset)
{
	void **pointer = (void **)((char *)&real + offset);
	void *found = NULL;

	if (!init_ready)
		for (size_t i = 0; i < ARRAY_SIZE(early); i++)
			if (early[i].offset == offset)
				return early[i].function;
	for (size_t i = 0; i < ARRAY_SIZE(real_rows) && !found; i++)
		if (real_rows[i].offset == offset)
			found = dispatch_real(offset, behind_us(real_rows[i].name));
	__atomic_store_n(pointer, found, __ATOMIC_RELEASE);
	return found;
}

static void resolve_eager(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(real_rows); i++)
		if (real_rows[i].eager)
			*(void **)((char *)&real + real_rows[i].offset) = dispatch_real(
				real_rows[i].offset, behind_us(real_rows[i].name));
}

/* --- Configuration ------------------------------------------------------------------------- */

static const char *environment(char **envp, const char *name)
{
	size_t len = strlen(name);

	for (; envp && *envp; envp++)
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
			return (*envp)[len + 1] ? *envp + len + 1 : NULL;
	return NULL;
}

static char *trim(char *s, char *end)
{
	while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		*--end = '\0';
	while (*s == ' ' || *s == '\t')
		s++;
	return s;
}

/* One line; returns the value of [client] prefix, or NULL. */
static char *prefix_line(char *line, char *end, bool *in_client)
{
	char *equals, *comment, *key;

	line = trim(line, end);
	if (*line == '[') {
		*in_client = strncmp(line, "[client]", 8) == 0;
		return NULL;
	}
	equals = strchr(line, '=');
	if (!*in_client || !equals || *line == '#' || *line == ';')
		return NULL;
	*equals = '\0';
	key = trim(line, equals);
	if (strcmp(key, "prefix") != 0)
		return NULL;
	comment = strstr(equals + 1, " ;");
	if (comment)
		*comment = '\0';
	return trim(equals + 1, equals + 1 + strlen(equals + 1));
}

/* The prefixes of a file; the default if it has none; -ENOENT if there is no such file. */
static int read_conf(const char *path)
{
	static char buf[32 << 10];
	bool in_client = false;
	char *line, *next, *value;
	const char *found = NULL;
	long n;
	int fd = raw_open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fd;
	n = RAW(read, fd, buf, sizeof buf - 1);
	raw_close(fd);
	if (n < 0)
		return (int)n;
	buf[n] = '\0';
	for (line = buf; line && *line; line = next) {
		char *end = strchr(line, '\n');

		next = end ? end + 1 : NULL;
		end = end ? end : line + strlen(line);
		*end = '\0';
		value = prefix_line(line, end, &in_client);
		if (value)
			found = value;
	}
#define DEFAULT_OF(section, key, type, def, help)                                                  \
	if (!found && strcmp(#key, "prefix") == 0)                                                 \
		found = def;
	FF3_CONF_KEYS_client(DEFAULT_OF)
	return prefix_set(found);
}

static int find_prefixes(char **envp)
{
	const char *s = environment(envp, "FF3FS_PREFIX"), *home = environment(envp, "HOME");
	char path[PATH_MAX];
	int r;

	if (!s)
		s = environment(envp, "FF3FS_CLIENT_PREFIX");
	if (s)
		return prefix_set(s);
	s = environment(envp, "FF3FS_CONF");
	if (s)
		return read_conf(s);
	if (home && strlen(home) < sizeof path - 32) {
		stpcpy(stpcpy(path, home), "/.config/ff3fs/ff3fs.conf");
		r = read_conf(path);
		if (r >= 0)
			return r;
	}
	return read_conf(SYSCONFDIR "/ff3fs/ff3fs.conf");
}

/* --- Start and end ------------------------------------------------------------------------- */

extern const char *gnu_get_libc_version(void) __attribute__((weak));

static bool may_serve(char **envp)
{
	return getauxval(AT_SECURE) == 0 && !environment(envp, "FF3FS_DISABLE") &&
	       find_prefixes(envp) > 0;
}

void init_leave(void)
{
	shared_map_exit();
	sync_everything();
	lock_exit();
}

__attribute__((destructor)) static void done(void)
{
	if (!init_enabled || init_is_vfork_child())
		return;
	stdio_flush();
	init_leave();
	init_exiting = true; /* what stdio still holds leaves through hook_write, after us */
}

/* By quick_exit, which runs no destructors and leaves by the C library's own _exit. */
static void done_quickly(void *arg)
{
	(void)arg;
	if (init_is_vfork_child())
		return;
	init_leave();
	init_exiting = true; /* handlers that were registered before ours come yet */
}

/* at_quick_exit is this call. Weak: another libc lacks it. */
int __cxa_at_quick_exit(void (*handler)(void *arg), void *dso) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

__attribute__((constructor)) static void init(int argc, char **argv, char **envp)
{
	/* Another libc passes no arguments. */
	bool known = gnu_get_libc_version != NULL, serve = known && may_serve(envp);

	log_path = known ? environment(envp, "FF3FS_LOG") : NULL;
	if (serve)
		dispatch_choose(environment(envp, "FF3FS_INTERCEPT"));
	resolve_eager();
	__atomic_store_n(&init_ready, true, __ATOMIC_RELEASE);
	if (!serve)
		return;
	fork_init();
	__cxa_at_quick_exit(done_quickly, &__dso_handle);
	init_enabled = true;
	cwd_init();
	stdio_init();
	dispatch_start();
}

/* --- umask, log ---------------------------------------------------------------------------- */

static _Atomic int known_umask = -1;

mode_t init_umask(void)
{
	char buf[512];
	const char *line;
	long n;
	int fd, mask = known_umask;

	if (mask >= 0)
		return (mode_t)mask;
	fd = raw_open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = RAW(read, fd, buf, sizeof buf - 1);
		raw_close(fd);
		buf[n > 0 ? n : 0] = '\0';
		line = strstr(buf, "\nUmask:\t");
		if (line)
			mask = (int)strtol(line + 8, NULL, 8);
	}
	if (mask < 0) { /* no /proc: the only other way to read it */
		mask = (int)RAW(umask, 022);
		RAW(umask, mask);
	}
	known_umask = mask;
	return (mode_t)mask;
}

void init_set_umask(mode_t mask)
{
	if (!init_is_vfork_child())
		known_umask = (int)(mask & 0777);
}

static void write_line(int fd, const char *what, const char *detail)
{
	char buf[1200], *p;

	p = stpcpy(buf, "ff3fs preload: ");
	p = stpncpy(p, what, 200);
	if (detail && *detail) {
		p = stpcpy(p, ": ");
		p = stpncpy(p, detail, 900);
	}
	*p++ = '\n';
	RAW(write, fd, buf, p - buf);
}

bool init_log(const char *what, const char *detail)
{
	static _Atomic int lines;
	int fd;

	if (!log_path || lines++ > 1000)
		return log_path != NULL;
	fd = raw_open(log_path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd == -ENOENT)
		fd = (int)RAW(openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	write_line(fd, what, detail);
	raw_close(fd);
	return true;
}

void init_tell(const char *what, const char *detail)
{
	if (!init_log(what, detail))
		write_line(2, what, detail);
}
