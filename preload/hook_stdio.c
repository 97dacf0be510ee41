/* Purpose: FILE streams on our files. libc's own streams call libc's own read and write, which
 * cannot be interposed; so a stream of ours is an fopencookie stream whose functions are our hooks.
 * Its _fileno is set to the descriptor, so that fileno() answers.
 *
 * stdin, stdout and stderr are variables: while fd 0, 1 or 2 is one of ours, the variable points to
 * a stream of ours on that number, and what the other one still had to write moves over. That
 * happens in the constructor (`prog >/ff3fs/out`) and whenever a dup2, open or close changes what
 * the number is (a shell's redirections).
 *
 * Threads: `mutex` guards the list of streams. Fork: reinitialised in the child; stream locks are
 * libc's matter. */
#include "hook.h"

#include <langinfo.h>
#include <pthread.h>
#include <stdio_ext.h>

#include "raw.h"

struct stream {
	struct stream *next;
	FILE *file;
	int fd;
	struct stdio_wide wide;
};

static struct stream *streams;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* Index 0 to 2: the process's own streams, and ours on the same number (made at need). */
static FILE *native_std[3], *our_std[3];

void stdio_after_fork(void)
{
	pthread_mutex_init(&mutex, NULL);
}

/* --- The stream's functions ---------------------------------------------------------------- */

static ssize_t stream_read(void *cookie, char *buf, size_t n)
{
	struct stream *s = cookie;

	return hook_read(s->fd, buf, n);
}

static ssize_t stream_write(void *cookie, const char *buf, size_t n)
{
	struct stream *s = cookie;
	size_t done = 0;

	while (done < n) {
		ssize_t r = hook_write(s->fd, buf + done, n - done);

		if (r < 0 && errno == EINTR && done == 0)
			return 0;
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static int stream_seek(void *cookie, off64_t *offset, int whence)
{
	struct stream *s = cookie;
	off_t r = hook_lseek(s->fd, *offset, whence);

	if (r < 0)
		return -1;
	*offset = r;
	return 0;
}

static int stream_close(void *cookie)
{
	struct stream *s = cookie;
	int fd = s->fd;

	pthread_mutex_lock(&mutex);
	for (struct stream **p = &streams; *p; p = &(*p)->next)
		if (*p == s) {
			__atomic_store_n(p, s->next, __ATOMIC_RELEASE);
			break;
		}
	for (int i = 0; i < 3; i++)
		if (our_std[i] == s->file)
			our_std[i] = NULL;
	pthread_mutex_unlock(&mutex);
	free(s);
	return hook_close(fd);
}

static FILE *stream_new(int fd, const char *mode)
{
	static const cookie_io_functions_t functions = { stream_read, stream_write, stream_seek,
							 stream_close };
	struct stream *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->fd = fd;
	s->file = fopencookie(s, mode, functions);
	if (!s->file) {
		free(s);
		return NULL;
	}
	s->file->_fileno = fd;
	s->file->_mode = 0; /* libc makes it one of bytes, where the first call is to decide */
	s->file->_wide_data = NULL; /* then setbuf looks for it, and what is there is no pointer */
	pthread_mutex_lock(&mutex);
	s->next = streams;
	__atomic_store_n(&streams, s, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&mutex);
	return s->file;
}

static struct stream *find_stream(const FILE *f)
{
	struct stream *s;

	pthread_mutex_lock(&mutex);
	for (s = streams; s && s->file != f; s = s->next)
		;
	pthread_mutex_unlock(&mutex);
	return s;
}

bool stdio_any(void)
{
	return __atomic_load_n(&streams, __ATOMIC_RELAXED) != NULL;
}

struct stdio_wide *stdio_find_wide(const FILE *f)
{
	struct stream *s = find_stream(f);

	return s ? &s->wide : NULL;
}

/* --- fopen, fdopen ------------------------------------------------------------------------- */

/* Wide characters are in the locale's encoding; in another one (",ccs=") they would be wrong. */
static bool other_encoding(const char *mode)
{
	const char *ccs = strstr(mode, ",ccs=");

	return ccs && strcasecmp(ccs + 5, nl_langinfo(CODESET)) != 0;
}

/* "r+e" … as open flags; -EINVAL. */
static int parse_mode(const char *mode)
{
	int flags;

	if (other_encoding(mode))
		return -EINVAL;

	switch (mode[0]) {
	case 'r':
		flags = O_RDONLY;
		break;
	case 'w':
		flags = O_WRONLY | O_CREAT | O_TRUNC;
		break;
	case 'a':
		flags = O_WRONLY | O_CREAT | O_APPEND;
		break;
	default:
		return -EINVAL;
	}
	for (int i = 1; i < 7 && mode[i] && mode[i] != ','; i++) {
		if (mode[i] == '+')
			flags = (flags & ~O_ACCMODE) | O_RDWR;
		else if (mode[i] == 'x')
			flags |= O_EXCL;
		else if (mode[i] == 'e')
			flags |= O_CLOEXEC;
	}
	return flags;
}

/* A stream on fd, which it takes over; NULL with fd closed. */
static FILE *stream_on(int fd, const char *mode, int flags)
{
	FILE *f = stream_new(fd, mode);

	if (!f) {
		fd_close(fd);
		errno = ENOMEM;
	} else if ((flags & O_APPEND) && (flags & O_ACCMODE) == O_WRONLY) {
		int saved = errno;

		hook_lseek(fd, 0, SEEK_END);
		errno = saved;
	}
	return f;
}

FILE *hook_fopen(const char *path, const char *mode)
{
	struct where w;
	int r = where_init(&w, AT_FDCWD, path, 0), flags;
	FILE *f;

	if (LIKELY(r == 0)) {
		f = REAL(fopen)(path, mode);
		r = f ? 0 : where_through_links(&w, AT_FDCWD, path, 0);
		if (LIKELY(r == 0))
			return f;
	}
	flags = parse_mode(mode);
	if (r > 0)
		r = flags < 0 ? flags : open_ours(&w, flags, 0666);
	return hook_result(r) < 0 ? NULL : stream_on(r, mode, flags);
}

FILE *hook_fdopen(int fd, const char *mode)
{
	_cleanup_ofd_ struct ofd *o = NULL;
	int r = fdtab_get(fd, &o), flags, have;
	FILE *f;

	if (LIKELY(r == 0))
		return REAL(fdopen)(fd, mode);
	flags = parse_mode(mode);
	if (r > 0 && flags < 0)
		r = flags;
	have = r > 0 ? o->flags & O_ACCMODE : 0;
	if (r > 0 && have != O_RDWR && have != (flags & O_ACCMODE))
		r = -EINVAL;
	if (hook_result(r) < 0)
		return NULL;
	if ((flags & O_APPEND) && !(o->flags & O_APPEND))
		hook_fcntl(fd, F_SETFL, (long)(o->flags | O_APPEND));
	f = stream_new(fd, mode);
	if (!f)
		errno = ENOMEM;
	return f;
}

/* --- stdin, stdout, stderr ----------------------------------------------------------------- */

static FILE **std_variable(int fd)
{
	return fd == 0 ? &stdin : fd == 1 ? &stdout : &stderr;
}

static void move_pending(FILE *from, FILE *to)
{
	size_t n = __fpending(from);
	/* A stream of wide characters of libc's holds them there; the fourth pointer is where they begin. */
	const wchar_t *wide = from->_mode > 0 ? ((wchar_t **)from->_wide_data)[3] : NULL;

	for (size_t i = 0; wide && i < n; i++)
		hook_fputwc(wide[i], to);
	if (!wide && n > 0)
		fwrite(from->_IO_write_base, 1, n, to);
	__fpurge(from);
	clearerr(from);
}

void stdio_refresh(int fd)
{
	FILE **variable = std_variable(fd), *now = *variable, *want = native_std[fd];

	if (!want || (now != want && now != our_std[fd]))
		return; /* before our constructor, or the program has put its own there */
	if (fdtab_is_ours(fd)) {
		if (!our_std[fd]) {
			our_std[fd] = stream_new(fd, fd == 0 ? "r" : "w");
			if (fd == 2 && our_std[fd])
				setvbuf(our_std[fd], NULL, _IONBF, 0);
		}
		want = our_std[fd] ? our_std[fd] : want;
	}
	if (now == want || !now)
		return;
	if (fd == 0) {
		__fpurge(want);
		clearerr(want);
	} else {
		move_pending(now, want);
	}
	*variable = want;
}

void stdio_init(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		native_std[fd] = *std_variable(fd);
		if (fdtab_is_ours(fd))
			stdio_refresh(fd);
	}
}

void stdio_flush(void)
{
	struct stream *s;

	pthread_mutex_lock(&mutex);
	s = streams;
	pthread_mutex_unlock(&mutex);
	if (s) /* there is a stream of ours: let all leave what they hold */
		fflush(NULL);
}

/* --- freopen ------------------------------------------------------------------------------- */

#define NO_READS 4
#define NO_WRITES 8
#define IS_APPENDING 0x1000

static void set_stream_mode(FILE *f, int flags)
{
	int mode = flags & O_ACCMODE;

	f->_flags &= ~(NO_READS | NO_WRITES | IS_APPENDING);
	f->_flags |= mode == O_WRONLY ? NO_READS : mode == O_RDONLY ? NO_WRITES : 0;
	f->_flags |= flags & O_APPEND ? IS_APPENDING : 0;
}

static void set_number(struct stream *s, int fd)
{
	s->fd = s->file->_fileno = fd;
}

/* A stream that could not be opened again is closed, and still the program's to give to fclose. */
static FILE *not_reopened(struct stream *s)
{
	int error = errno, fd = s->fd;

	set_number(s, -1);
	if (fd >= 0)
		hook_close(fd);
	errno = error;
	return NULL;
}

/* Puts another file behind a stream of ours, on the same number. */
static FILE *reopen_ours(struct stream *s, const char *path, int flags)
{
	FILE *f = s->file;
	int fd, number = s->fd;

	fflush(f);
	__fpurge(f);
	clearerr(f);
	fd = hook_open(path, flags, 0666);
	if (fd < 0)
		return not_reopened(s);
	if (number < 0) {
		set_number(s, fd);
	} else if (fd != number) {
		hook_dup3(fd, number, flags & O_CLOEXEC);
		hook_close(fd);
	}
	set_stream_mode(f, flags);
	f->_mode = 0;
	s->wide = (struct stdio_wide){ 0 };
	return f;
}

/* As not_reopened: libc closes it, for there is no file without a name. */
static FILE *native_not_reopened(FILE *f, int error)
{
	REAL(freopen)("", "r", f);
	errno = error;
	return NULL;
}

/* A stream of libc cannot become one of ours in place, except the three that are variables. */
static FILE *reopen_native(FILE *f, const char *path, int flags)
{
	int number = -1, fd;

	for (int i = 0; i < 3; i++)
		if (f == native_std[i] && *std_variable(i) == f)
			number = i;
	if (number < 0) {
		/* What may not be opened is said first. */
		fd = flags & (O_CREAT | O_TRUNC) ? -1 : hook_open(path, flags, 0);
		if (fd >= 0)
			hook_close(fd);
		return native_not_reopened(f, flags & (O_CREAT | O_TRUNC) || fd >= 0 ? EOPNOTSUPP : errno);
	}
	fflush(f);
	fd = hook_open(path, flags, 0666);
	if (fd < 0)
		return native_not_reopened(f, errno);
	if (fd != number) {
		hook_dup2(fd, number);
		hook_close(fd);
	}
	set_stream_mode(*std_variable(number), flags);
	return *std_variable(number);
}

FILE *hook_freopen(const char *path, const char *mode, FILE *f)
{
	struct stream *s = init_active() ? find_stream(f) : NULL;
	int flags, number;

	if (!s && (!path || !where_is_ours(AT_FDCWD, path))) {
		f = REAL(freopen)(path, mode, f);
		number = f ? fileno(f) : -1;
		if (number >= 0)
			fdtab_set_native(number);
		return f;
	}
	flags = parse_mode(mode);
	if (flags < 0) {
		errno = EINVAL;
		return NULL;
	}
	if (!path) { /* another mode of the same file: only what the descriptor allows */
		fflush(f);
		set_stream_mode(f, flags);
		return f;
	}
	return s ? reopen_ours(s, path, flags) : reopen_native(f, path, flags);
}

DEFINE_ALIASES(stdio)
