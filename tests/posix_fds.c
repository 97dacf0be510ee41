/* Descriptors as such: copies, flags, closing, polling, ioctl, locks, notification, handles. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <linux/fs.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

CASE(fd_copies)
{
	char c;
	int fd = make("a", "0123456789"), two;
	struct rlimit limit;

	R(dup(fd));
	R(dup2(fd, 20));
	R(dup2(fd, fd));
	R(dup2(99, 20));
	R(dup2(99, 99));
	R(dup2(fd, -1));
	R(dup2(fd, 1 << 30));
	R(dup3(fd, fd, 0));
	R(dup3(fd, 21, O_CLOEXEC));
	R(fcntl(21, F_GETFD));
	R(dup3(fd, 22, O_APPEND));
	R(dup3(fd, -1, 0));
	R(dup(99));
	R(read(20, &c, 1));
	R(lseek(21, 0, SEEK_CUR));
	R(fcntl(fd, F_DUPFD, 30));
	R(fcntl(fd, F_DUPFD, 30));
	R(fcntl(fd, F_DUPFD_CLOEXEC, 30));
	R(fcntl(32, F_GETFD));
	R(fcntl(30, F_GETFD));
	R(fcntl(fd, F_DUPFD, -1));
	R(getrlimit(RLIMIT_NOFILE, &limit));
	R(fcntl(fd, F_DUPFD, (int)limit.rlim_cur));
	R(fcntl(99, F_DUPFD, 0));
	R(close(fd));
	R(close(fd));
	R(read(20, &c, 1));
	two = R(open(P("a"), O_RDONLY));
	R(dup2(two, 20));
	R(lseek(20, 0, SEEK_CUR));
	R(lseek(21, 0, SEEK_CUR));
	R(close_range(20, 22, 0));
	R(fcntl(21, F_GETFD));
	R(fcntl(30, F_GETFD));
	R(close_range(30, 32, 4)); /* CLOSE_RANGE_CLOEXEC */
	R(fcntl(30, F_GETFD));
	R(fcntl(31, F_GETFD));
	R(close_range(31, 30, 0));
	R(close_range(30, 32, 77));
	R(close_range(30, 31, 2)); /* CLOSE_RANGE_UNSHARE */
	R(fcntl(30, F_GETFD));
	R(fcntl(32, F_GETFD));
	R(read(32, &c, 1));
	R(close_range(25, ~0u, 0));
	R(fcntl(32, F_GETFD));
	R(open(P("a"), O_RDONLY));
}

IN_CHILD(fd_limit)
{
	struct rlimit limit = { 100, 100 };

	put("a", "text");
	R(setrlimit(RLIMIT_NOFILE, &limit));
	while ((open)(P("a"), O_RDONLY) >= 0)
		;
	R(open(P("a"), O_RDONLY));
	R(open(P("new"), O_CREAT | O_RDWR, 0600));
	PTR(opendir(P("")));
	R(close(5));
	R(close(6)); /* making one of ours takes a second number for a moment */
	R(open(P("a"), O_RDONLY));
}

CASE(fd_fcntl)
{
	int fd = make("a", "0123456789"), rd = R(open(P("a"), O_RDONLY)), value = 0;
	uint64_t hint = 2;
	struct f_owner_ex owner = { F_OWNER_PID, getpid() };

	R(fcntl(fd, F_GETFD));
	R(fcntl(fd, F_SETFD, FD_CLOEXEC));
	R(fcntl(fd, F_GETFD));
	R(fcntl(fd, F_SETFD, 0xff0));
	R(fcntl(fd, F_GETFD));
	R(fcntl(fd, F_GETOWN));
	R(fcntl(fd, F_SETOWN, getpid()));
	R(fcntl(fd, F_GETOWN) == getpid());
	R(fcntl(fd, F_GETOWN_EX, &owner));
	R(fcntl(fd, F_SETOWN_EX, &owner));
	R(fcntl(fd, F_SETOWN, 0x7ffffff));
	R(fcntl(fd, F_GETSIG));
	R(fcntl(fd, F_SETSIG, 10));
	R(fcntl(fd, F_GETSIG));
	R(fcntl(fd, F_SETSIG, 200));
	R(fcntl(fd, F_GETPIPE_SZ));
	R(fcntl(fd, F_SETPIPE_SZ, 4096));
	R(fcntl(fd, F_NOTIFY, DN_CREATE));
	R(fcntl(fd, F_GETLEASE));
	R(fcntl(fd, F_SETLEASE, 77));
	R(fcntl(fd, F_SETLEASE, F_UNLCK));
	R(fcntl(fd, F_SETLEASE, F_RDLCK)); /* it is open for writing */
	R(fcntl(rd, F_ADD_SEALS, 0));
	R(fcntl(rd, F_GET_SEALS));
	R(fcntl(fd, F_GET_RW_HINT, &hint));
	R(fcntl(fd, F_SET_RW_HINT, &hint));
	R(fcntl(fd, 9999, 0));
	R(fcntl(99, F_GETFL));
	R(fcntl(99, 9999));
	R(fcntl(fd, F_GETLK, NULL));
	R(fcntl(fd, F_SETLK, (void *)1));
	R(fcntl(fd, F_OFD_SETLK, (void *)1));
	(void)value;
}

CASE(fd_record_locks)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 4 };
	int fd = make("a", "0123456789"), rd = R(open(P("a"), O_RDONLY)), wr = R(open(P("a"), O_WRONLY));

#define LOCK(d, cmd, type, whence, start, len)                                                     \
	(l = (struct flock){ .l_type = type, .l_whence = whence, .l_start = start, .l_len = len },   \
	 R(fcntl(d, cmd, &l)))
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_SET, 2, 4);
	LOCK(fd, F_GETLK, F_WRLCK, SEEK_SET, 0, 0);
	say("  type %d", l.l_type);
	LOCK(rd, F_SETLK, F_WRLCK, SEEK_SET, 0, 1);
	LOCK(wr, F_SETLK, F_RDLCK, SEEK_SET, 0, 1);
	LOCK(rd, F_SETLK, F_RDLCK, SEEK_SET, 0, 1);
	LOCK(wr, F_SETLK, F_WRLCK, SEEK_SET, 0, 1);
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_SET, -1, 1);
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_SET, 5, -3);
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_SET, 5, -6);
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_END, -2, 0);
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_END, -20, 0);
	LOCK(fd, F_SETLK, F_WRLCK, 99, 0, 0);
	LOCK(fd, F_SETLK, 99, SEEK_SET, 0, 0);
	LOCK(fd, F_SETLK, F_WRLCK, SEEK_SET, INT64_MAX, 2);
	LOCK(fd, F_GETLK, F_UNLCK, SEEK_SET, 0, 0);
	LOCK(99, F_SETLK, F_WRLCK, SEEK_SET, 0, 0);
	LOCK(fd, F_SETLKW, F_WRLCK, SEEK_CUR, 0, 3);
	l.l_pid = 5;
	R(fcntl(fd, F_OFD_SETLK, &l));
	R(lockf(fd, F_LOCK, 2));
	R(lockf(fd, F_TLOCK, 0));
	R(lockf(fd, F_TEST, 0));
	R(lockf(fd, F_ULOCK, 0));
	R(lockf(rd, F_TLOCK, 0));
	R(lockf(fd, 99, 0));
	R(lockf64(fd, F_TEST, 5));
	R(lockf(99, F_TEST, 0));
}

/* Another process, seen from a child that tells by its exit status. */
static int probe_fd, probe_kind;

static void probe(void)
{
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10 };
	int fd = (open)(P("a"), O_RDWR);

	switch (probe_kind) {
	case 0:
		R(fcntl(fd, F_GETLK, &l));
		say("  type %d start %ld len %ld, by the parent %d", l.l_type, (long)l.l_start,
		    (long)l.l_len, l.l_pid == getppid());
		break;
	case 1:
		R(fcntl(fd, F_SETLK, &l));
		break;
	case 2:
		R(flock_(fd, LOCK_EX | LOCK_NB));
		R(flock_(fd, LOCK_SH | LOCK_NB));
		break;
	case 3:
		R(flock_(probe_fd, LOCK_EX | LOCK_NB));
		R(flock_(probe_fd, LOCK_UN));
		break;
	}
}

static void ask(int kind)
{
	probe_kind = kind;
	in_child(probe);
}

CASE(fd_locks_between_processes)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 4 };
	int fd = make("a", "0123456789"), other;

	R(fcntl(fd, F_SETLK, &l));
	ask(0);
	ask(1);
	l.l_type = F_RDLCK;
	R(fcntl(fd, F_SETLK, &l));
	ask(0);
	ask(1);
	other = (open)(P("a"), O_RDONLY);
	R(close(other)); /* any close drops them all */
	l.l_type = F_WRLCK;
	ask(0);
	R(fcntl(fd, F_OFD_SETLK, (l.l_pid = 0, &l)));
	ask(1);
	other = (open)(P("a"), O_RDONLY);
	R(close(other));
	ask(1);
	l.l_type = F_UNLCK;
	R(fcntl(fd, F_OFD_SETLK, &l));
	ask(1);
	probe_fd = fd;
	R(flock_(fd, LOCK_EX));
	ask(2);
	ask(3);
	ask(2);
	R(flock_(fd, LOCK_SH));
	ask(2);
	R(flock_(fd, LOCK_UN));
	ask(2);
	R(flock_(fd, 77));
	R(flock_(fd, 0));
	R(flock_(fd, LOCK_NB));
	R(flock_(99, LOCK_EX));
	R(flock_(99, 77));
}

struct fiemap_ {
	uint64_t start, length;
	uint32_t flags, mapped, count, reserved;
};

CASE(fd_ioctl)
{
	int fd = make("a", "0123456789"), other = make("b", ""), n = 0, dir = R(open(P(""), O_RDONLY));
	long long size = 0;
	char buf[256] = "";

	R(ioctl(fd, FIONREAD, &n));
	R(n);
	R(lseek(fd, 4, SEEK_SET));
	R(ioctl(fd, FIONREAD, &n));
	R(n);
	R(lseek(fd, 40, SEEK_SET));
	R(ioctl(fd, FIONREAD, &n));
	R(n);
	R(ioctl(fd, FIONREAD, NULL));
	R(ioctl(fd, FIONBIO, (n = 1, &n)));
	R(fcntl(fd, F_GETFL) & ~0100000);
	R(ioctl(fd, FIONBIO, NULL));
	R(ioctl(fd, FIOCLEX));
	R(fcntl(fd, F_GETFD));
	R(ioctl(fd, FIONCLEX));
	R(fcntl(fd, F_GETFD));
	R(ioctl(fd, FIGETBSZ, &n));
	R(ioctl(fd, FIGETBSZ, NULL));
	R(ioctl(fd, 0x5401 /* TCGETS */, buf));
	R(ioctl(fd, 0x5413 /* TIOCGWINSZ */, buf));
	R(ioctl(fd, BLKGETSIZE64, &size));
	R(ioctl(fd, BLKGETSIZE, &size));
	R(ioctl(fd, BLKSSZGET, &n));
	R(ioctl(99, FIONREAD, &n));
	R(ioctl(fd, 0x12345678, &n));
	R(ioctl(dir, 0x12345678, &n));
	R(ioctl(dir, FIGETBSZ, &n) == 0 && n >= 512);
	R(ioctl(other, FICLONE, 99));
	R(isatty(fd));
	R(isatty(99));
	R(ttyname(fd) != NULL);
	R(ioctl(99, FIGETBSZ, &n));
}

CASE(fd_polling)
{
	int fd = make("a", "0123456789"), ep, dir = R(open(P(""), O_RDONLY)), rd = R(open(P("a"), O_RDONLY));
	struct pollfd p[3] = { { fd, POLLIN | POLLOUT | POLLPRI, 0 }, { dir, POLLIN | POLLOUT, 0 },
			       { rd, POLLIN | POLLOUT | POLLHUP, 0 } };
	struct timespec t = { 0, 0 };
	struct timeval v = { 0, 0 };
	struct epoll_event e = { .events = EPOLLIN };
	fd_set r, w, x;

	R(poll(p, 3, 0));
	R(p[0].revents);
	R(p[1].revents);
	R(p[2].revents);
	R(ppoll(p, 1, &t, NULL));
	R(poll(p, 1, -1));
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_ZERO(&x);
	FD_SET(fd, &r), FD_SET(fd, &w), FD_SET(fd, &x), FD_SET(rd, &r), FD_SET(dir, &w);
	R(select(20, &r, &w, &x, &v));
	R(FD_ISSET(fd, &r) && FD_ISSET(fd, &w) && !FD_ISSET(fd, &x) && FD_ISSET(rd, &r));
	FD_ZERO(&x);
	FD_SET(fd, &x);
	R(pselect(20, NULL, NULL, &x, &t, NULL));
	ep = R(epoll_create1(0));
	R(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
	R(epoll_ctl(ep, EPOLL_CTL_ADD, dir, &e));
	R(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e));
	R(epoll_ctl(ep, EPOLL_CTL_DEL, fd, &e));
	R(epoll_ctl(fd, EPOLL_CTL_ADD, ep, &e));
	R(epoll_wait(ep, &e, 1, 0));
	R(epoll_pwait(ep, &e, 1, 0, NULL));
	R(epoll_wait(fd, &e, 1, 0));
	R(close(epoll_create(1)));
}

/* What the prefix cannot do it refuses; here is only what is the same everywhere. */
CASE(fd_notification)
{
	int in = R(inotify_init1(IN_CLOEXEC)), fan;

	put("a", "text");
	R(inotify_add_watch(in, P("none"), IN_MODIFY));
	R(inotify_add_watch(in, P("a/x"), IN_MODIFY));
	R(inotify_add_watch(in, P("a"), 0));
	R(inotify_add_watch(in, P("a"), IN_MODIFY | IN_ONLYDIR));
	R(inotify_add_watch(99, P("a"), IN_MODIFY));
	R(inotify_add_watch(0, P("a"), IN_MODIFY));
	R(inotify_add_watch(in, (void *)1, IN_MODIFY));
	R(inotify_rm_watch(in, 77));
	fan = (int)syscall(SYS_fanotify_init, 0x8 | 0x200, O_RDONLY);
	if (fan >= 0)
		R(syscall(SYS_fanotify_mark, fan, FAN_MARK_ADD, (uint64_t)FAN_MODIFY, AT_FDCWD, P("none")));
}

CASE(fd_special_files)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int s;

	put("a", "text");
	R(mkfifo(P("a"), 0600));
	R(mknod(P("a"), S_IFIFO | 0600, 0));
	R(mknod(P("a"), S_IFSOCK | 0600, 0));
	R(mknod(P("none/x"), S_IFIFO | 0600, 0));
	R(mkfifo(P("none/x"), 0600));
	R(mkfifo(P("a/x"), 0600));
	R(mkfifoat(AT_FDCWD, P("a"), 0600));
	R(mknod(P("x"), S_IFDIR | 0600, 0));
	R(mknod(P("x"), S_IFLNK | 0600, 0));
	R(mknod(P("x"), 0170000 | 0600, 0));
	s = R(socket(AF_UNIX, SOCK_STREAM, 0));
	if (strlen(P("a")) < sizeof un.sun_path) {
		strcpy(un.sun_path, P("a"));
		R(bind(s, (void *)&un, sizeof un));
		R(connect(s, (void *)&un, sizeof un));
		strcpy(un.sun_path, P("n/x"));
		R(bind(s, (void *)&un, sizeof un));
		R(connect(s, (void *)&un, sizeof un));
		strcpy(un.sun_path, P("none"));
		R(connect(s, (void *)&un, sizeof un));
	}
	R(syscall(SYS_swapon, P("none"), 0));
	R(syscall(SYS_acct, P("none")));
	R(syscall(SYS_umount2, P("none"), 0));
	R(syscall(SYS_mount, "x", P("none"), "tmpfs", 0, NULL));
	R(syscall(SYS_pivot_root, P("none"), P("none")));
}

CASE(fd_handles)
{
	struct {
		struct file_handle h;
		char room[128];
	} h = { 0 };
	int id, fd = make("a", "text");

	R(name_to_handle_at(AT_FDCWD, P("none"), &h.h, &id, 0));
	R(name_to_handle_at(99, "x", &h.h, &id, 0));
	R(name_to_handle_at(AT_FDCWD, P("a"), &h.h, &id, 0x800000));
	R(open_by_handle_at(99, &h.h, O_RDONLY));
	(void)fd;
}
