/* Purpose: prefix.h. The prefix table, the classification every path-taking hook begins with,
 * and reading of memory that the caller may have given wrongly.
 * Threads: `prefixes` is read-only after prefix_set. `readable` is a cache of page numbers,
 * relaxed atomics; a lost update costs one system call.
 * Fork/signal: callable from a handler. */
#include "prefix.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "raw.h"

struct prefix {
	size_t len;
	char text[PATH_MAX];
};

static struct prefix prefixes[PREFIX_MAX];
static int n_prefixes;

/* --- Memory -------------------------------------------------------------------------------- */

#define PAGE 4096ul
#define N_READABLE 64

static _Atomic uintptr_t readable[N_READABLE];

void memory_forget(void)
{
	for (int i = 0; i < N_READABLE; i++)
		atomic_store_explicit(&readable[i], 0, memory_order_relaxed);
}

static bool page_readable(const void *p)
{
	char c;
	struct iovec to = { &c, 1 }, from = { (void *)(uintptr_t)p, 1 };
	pid_t self = (pid_t)RAW(getpid);
	long r = RAW(process_vm_readv, self, &to, 1, &from, 1, 0);

	if (r == 1 || r == -EFAULT)
		return r == 1;
	/* A container's filter. With an invalid `how` the kernel still reads the set first: EFAULT if
	 * it cannot, EINVAL if it could. (Not at once: valgrind looks at the set, too.) */
	return RAW(rt_sigprocmask, -1, (uintptr_t)p & ~7ul, 0, 8) != -EFAULT;
}

bool memory_readable(const void *p)
{
	uintptr_t page = (uintptr_t)p / PAGE;
	_Atomic uintptr_t *slot = &readable[page % N_READABLE];

	if (page == 0) /* and for the kernel a null set is none to be read */
		return false;
	if (LIKELY(atomic_load_explicit(slot, memory_order_relaxed) == page))
		return true;
	if (!page_readable(p))
		return false;
	atomic_store_explicit(slot, page, memory_order_relaxed);
	return true;
}

bool string_readable(const char *s)
{
	for (size_t i = 0; i < PATH_MAX; i++) {
		if ((i == 0 || ((uintptr_t)(s + i) & (PAGE - 1)) == 0) && !memory_readable(s + i))
			return false;
		if (!s[i])
			return true;
	}
	return true;
}

static bool memory_copy(long (*copy)(pid_t, const struct iovec *, const struct iovec *),
			const void *local, const void *user, size_t n)
{
	struct iovec l = { (void *)(uintptr_t)local, n }, u = { (void *)(uintptr_t)user, n };

	return copy((pid_t)RAW(getpid), &l, &u) == (long)n;
}

static long vm_write(pid_t pid, const struct iovec *local, const struct iovec *user)
{
	long r = RAW(process_vm_writev, pid, local, 1, user, 1, 0);

	/* Once more as checkers of memory see it; or a container's filter: trust the caller. */
	if (r == (long)user->iov_len || r == -ENOSYS || r == -EPERM) {
		memcpy(user->iov_base, local->iov_base, user->iov_len);
		return (long)user->iov_len;
	}
	return r;
}

static long vm_read(pid_t pid, const struct iovec *local, const struct iovec *user)
{
	long r = RAW(process_vm_readv, pid, local, 1, user, 1, 0);

	if (r == -ENOSYS || r == -EPERM) {
		memcpy(local->iov_base, user->iov_base, user->iov_len);
		return (long)user->iov_len;
	}
	return r;
}

bool memory_copy_out(void *to_user, const void *from, size_t n)
{
	return n == 0 || memory_copy(vm_write, from, to_user, n);
}

bool memory_copy_in(void *to, const void *from_user, size_t n)
{
	return n == 0 || memory_copy(vm_read, to, from_user, n);
}

/* --- The table ----------------------------------------------------------------------------- */

static void add_prefix(const char *text, size_t len)
{
	char given[PATH_MAX];
	struct prefix *p = &prefixes[n_prefixes];

	if (len == 0 || len >= PATH_MAX || text[0] != '/' || n_prefixes == PREFIX_MAX)
		return;
	memcpy(given, text, len);
	given[len] = '\0';
	if (prefix_normalize("/", given, p->text) < 0 || !p->text[1])
		return;
	p->len = strlen(p->text);
	n_prefixes++;
}

int prefix_set(const char *list)
{
	n_prefixes = 0;
	while (list && *list) {
		size_t len = strcspn(list, ":");

		add_prefix(list, len);
		list += len + (list[len] == ':');
	}
	return n_prefixes;
}

int prefix_count(void)
{
	return n_prefixes;
}

const char *prefix_text(int index)
{
	return prefixes[index].text;
}

int prefix_normalize(const char *base, const char *path, char out[PATH_MAX])
{
	size_t n = 0;

	if (path[0] != '/') {
		n = strlen(base);
		if (n >= PATH_MAX)
			return -ENAMETOOLONG;
		memcpy(out, base, n);
		while (n > 0 && out[n - 1] == '/')
			n--;
	}
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && path[0] == '.' && path[1] == '.') {
			while (n > 0 && out[n - 1] != '/')
				n--;
			n -= n > 0;
		} else if (len > 0 && !(len == 1 && path[0] == '.')) {
			if (n + 1 + len >= PATH_MAX)
				return -ENAMETOOLONG;
			out[n++] = '/';
			memcpy(out + n, path, len);
			n += len;
		}
		path += len + (path[len] == '/');
	}
	if (n == 0)
		out[n++] = '/';
	out[n] = '\0';
	return 0;
}

/* --- Classification ------------------------------------------------------------------------ */

/* What one pass over a path finds. */
struct scan {
	bool dots;   /* has a "." or ".." component or an empty one */
	bool dotdot; /* has a ".." component */
	bool fault;  /* runs into unreadable memory, or has no end within PATH_MAX */
};

static struct scan scan_path(const char *path)
{
	struct scan s = { 0 };
	bool start = path[0] != '/'; /* at the first byte of a component */

	for (size_t i = 0; i < PATH_MAX; i++) {
		char c;

		if (UNLIKELY(((uintptr_t)(path + i) & (PAGE - 1)) == 0) && !memory_readable(path + i)) {
			s.fault = true;
			return s;
		}
		c = path[i];
		if (!c)
			return s;
		if (UNLIKELY(start && (c == '.' || c == '/'))) {
			if (c == '/') {
				s.dots = true;
			} else if (memory_readable(path + i + 1)) {
				char next = path[i + 1];

				s.dots |= next == '/' || next == '\0';
				if (next == '.' && memory_readable(path + i + 2) &&
				    (path[i + 2] == '/' || path[i + 2] == '\0'))
					s.dots = s.dotdot = true;
			}
		}
		start = c == '/';
	}
	s.fault = true;
	return s;
}

enum prefix_kind prefix_classify_normal(const char *path, const char **ret_rest, int *ret_index)
{
	for (int i = 0; i < n_prefixes; i++) {
		const struct prefix *p = &prefixes[i];
		size_t k = 0;

		while (k < p->len && path[k] == p->text[k])
			k++;
		if (k == p->len && (path[k] == '/' || path[k] == '\0')) {
			*ret_rest = path + k;
			*ret_index = i;
			return PREFIX_INSIDE;
		}
	}
	return PREFIX_OUTSIDE;
}

/* A prefix matched component by component, with "//" and "/./" read as "/". Stops at "..". */
static bool match_loosely(const char *path, const struct prefix *p, const char **ret_rest)
{
	size_t k = 0;

	for (;;) {
		while (*path == '/' || (path[0] == '.' && (path[1] == '/' || !path[1])))
			path++;
		if (k == p->len) {
			*ret_rest = path;
			return true;
		}
		k++; /* the prefix's slash */
		while (k < p->len && p->text[k] != '/' && *path == p->text[k])
			path++, k++;
		if ((k < p->len && p->text[k] != '/') || (*path && *path != '/'))
			return false;
	}
}

/* Is the component that begins here one of a prefix's? Only such a relative path can lead into a
 * prefix from a directory above it. */
static bool component_of_prefix(const char *path)
{
	size_t len = strcspn(path, "/");

	for (int i = 0; i < n_prefixes; i++) {
		const char *t = prefixes[i].text;

		while (*t) {
			size_t n = strcspn(++t, "/");

			if (n == len && memcmp(t, path, n) == 0)
				return true;
			t += n;
		}
	}
	return false;
}

static enum prefix_kind classify_absolute(const char *path, struct scan s, const char **ret_rest,
					  int *ret_index)
{
	char normal[PATH_MAX];
	const char *rest;

	if (prefix_classify_normal(path, ret_rest, ret_index) == PREFIX_INSIDE)
		return PREFIX_INSIDE;
	if (UNLIKELY(s.dots)) {
		for (int i = 0; i < n_prefixes; i++)
			if (match_loosely(path, &prefixes[i], ret_rest)) {
				*ret_index = i;
				return PREFIX_INSIDE;
			}
		/* "/tmp/../ff3fs/x": the part before the prefix is taken by its text. */
		if (s.dotdot && prefix_normalize("/", path, normal) == 0 &&
		    prefix_classify_normal(normal, &rest, ret_index) == PREFIX_INSIDE)
			return PREFIX_RELATIVE;
	}
	if ((path[1] == 'd' && strncmp(path, "/dev/", 5) == 0) ||
	    (path[1] == 'p' && strncmp(path, "/proc/", 6) == 0))
		return PREFIX_SPECIAL;
	return PREFIX_OUTSIDE;
}

enum prefix_kind prefix_classify(const char *path, const char **ret_rest, int *ret_index)
{
	struct scan s;

	if (UNLIKELY((uintptr_t)path < PAGE || !memory_readable(path)))
		return PREFIX_FAULT;
	s = scan_path(path);
	if (UNLIKELY(s.fault))
		return PREFIX_FAULT;
	if (path[0] == '/')
		return classify_absolute(path, s, ret_rest, ret_index);
	if (s.dotdot)
		return PREFIX_RELATIVE;
	while (path[0] == '.' && path[1] == '/')
		for (path++; *path == '/'; path++)
			;
	return component_of_prefix(path) ? PREFIX_RELATIVE : PREFIX_OUTSIDE;
}
