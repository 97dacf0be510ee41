/* Purpose: what this machine allows a client: limits, what the kernel has, clocks. What can only be known by
 * trying is tried in a child, which nothing of it outlives. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>

#include "doctor.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Runs fn in a child. Returns what it did: 0 or a negative errno. */
static int in_child(int (*fn)(void))
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(-fn());
	if (pid < 0)
		return -errno;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/* --- Limits ----------------------------------------------------------------------------------- */

static char *limit_text(char buf[32], rlim_t limit, bool bytes)
{
	if (limit == RLIM_INFINITY)
		return strcpy(buf, "unlimited");
	if (bytes)
		return cli_iec(buf, (double)limit);
	return cli_count(buf, limit);
}

static bool has_rdma(void)
{
	return access("/sys/class/infiniband", F_OK) == 0;
}

static void look_at_limits(void)
{
	char soft[32], hard[32];
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		enum doctor_level level = l.rlim_cur < 256  ? DOCTOR_PROBLEM :
					  l.rlim_cur < 1024 ? DOCTOR_NOTE :
							      DOCTOR_OK;

		doctor_say(level, "open files", level ? "ulimit -n 4096 before the job" : NULL,
			   "%s (at most %s)%s", limit_text(soft, l.rlim_cur, false),
			   limit_text(hard, l.rlim_max, false),
			   level ? ": each open file, connection and mapping takes a descriptor" : "");
	}
	if (getrlimit(RLIMIT_MEMLOCK, &l) == 0) {
		/* A connection takes 160 KiB, and a piece of a transfer up to 1 MiB. */
		enum doctor_level level = !has_rdma() || l.rlim_cur == RLIM_INFINITY ? DOCTOR_OK :
					  l.rlim_cur < FF3_MIB(4)		     ? DOCTOR_PROBLEM :
					  l.rlim_cur < FF3_MIB(1024)		     ? DOCTOR_NOTE :
										       DOCTOR_OK;

		doctor_say(level, "locked memory",
			   level ? "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit" : NULL, "%s%s",
			   limit_text(soft, l.rlim_cur, true),
			   level == DOCTOR_PROBLEM ? ": too little to register buffers for RDMA" :
			   level ? ": half of it for buffers that stay registered for RDMA; what finds no "
				   "room comes by TCP" : "");
	}
	if (getrlimit(RLIMIT_AS, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
		doctor_say(l.rlim_cur < FF3_MIB(512) ? DOCTOR_PROBLEM : DOCTOR_NOTE, "address space",
			   "ulimit -v unlimited; a cgroup limits memory better",
			   "%s: mappings of files and of daemons' memory count in full",
			   limit_text(soft, l.rlim_cur, true));
	if (getrlimit(RLIMIT_FSIZE, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
		doctor_say(DOCTOR_NOTE, "file size", "ulimit -f unlimited",
			   "%s: longer files cannot be written, here as anywhere",
			   limit_text(soft, l.rlim_cur, true));
}

static void look_at_shared_memory(void)
{
	const char *own = getenv("FF3FS_MMAP_DIR");
	const char *dir = own && *own ? own : "/dev/shm";
	struct statvfs v;
	char room[32];

	if (access(dir, W_OK) < 0 || statvfs(dir, &v) < 0) {
		doctor_say(DOCTOR_NOTE, dir, "mount a tmpfs there, or name a directory in FF3FS_MMAP_DIR",
			   "%s: shared mappings fail, and processes of this host see each other's "
			   "buffered writes late", strerror(errno));
		return;
	}
	cli_iec(room, (double)v.f_bavail * (double)v.f_frsize);
	if ((double)v.f_bavail * (double)v.f_frsize < (double)FF3_MIB(64))
		doctor_say(DOCTOR_NOTE, dir, "make it larger (docker run --shm-size=1g), or set FF3FS_MMAP_DIR",
			   "%s free: shared writable mappings live there", room);
	else
		doctor_say(DOCTOR_OK, dir, NULL, "%s free, for shared mappings", room);
}

/* --- Kernel ----------------------------------------------------------------------------------- */

static int try_uring(void)
{
	struct io_uring_params p = { 0 };
	long fd = syscall(SYS_io_uring_setup, 4, &p);

	return fd < 0 ? -errno : 0;
}

static int try_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return 0;
	return (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY) >= 0 ? -EPERM : -ENOSYS;
}

static int try_notify(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		       &program) < 0 ? -errno : 0;
}

static int try_dispatch(void)
{
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) < 0 ? -errno : 0;
}

static int try_fuse(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

static int feature(const char *what, int (*fn)(void), enum doctor_level level, const char *serves,
		   const char *without, const char *fix)
{
	int r = in_child(fn);

	if (r == 0)
		doctor_say(DOCTOR_OK, what, NULL, "%s", serves);
	else
		doctor_say(level, what, fix, "%s: %s", strerror(-r), without);
	return r;
}

static void look_at_kernel(struct doctor_host *ret)
{
	feature("io_uring", try_uring, DOCTOR_NOTE, "allowed: daemons can run here, too",
		"daemons cannot run here; clients do not need it",
		"sysctl kernel.io_uring_disabled=0, or a container with a wider seccomp profile");
	feature("userfaultfd", try_userfaultfd, DOCTOR_NOTE, "mappings load what is touched",
		"a mapping reads its file whole when it is made",
		"sysctl vm.unprivileged_userfaultfd=1, or access to /dev/userfaultfd");
	ret->notify = feature("seccomp notification", try_notify, DOCTOR_NOTE,
			      "ff3fs run --notify serves static and set-user-ID programs",
			      "ff3fs run --notify does not work", "use ff3fs-mount for such programs") == 0;
	feature("syscall dispatch", try_dispatch, DOCTOR_NOTE,
		"FF3FS_INTERCEPT=full serves programs that make system calls themselves",
		"FF3FS_INTERCEPT=full does not work", "needs Linux 5.11 on x86-64; ff3fs check tells who needs it");
	ret->fuse = feature("/dev/fuse", try_fuse, DOCTOR_NOTE, "ff3fs-mount can be used",
			    "ff3fs-mount cannot be used", "modprobe fuse; in a container: --device /dev/fuse "
			    "--cap-add SYS_ADMIN") == 0;
}

/* --- Clocks ----------------------------------------------------------------------------------- */

static void look_at_clocks(void)
{
	char source[64] = "";
	FILE *f = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
	struct timex t = { 0 };
	int state = adjtimex(&t);

	if (f) {
		if (fscanf(f, "%63s", source) != 1)
			source[0] = '\0';
		fclose(f);
	}
	if (time(NULL) < 1735689600) /* 2025 */
		doctor_say(DOCTOR_PROBLEM, "clock", "set it: timedatectl set-ntp true",
			   "it is before this program was made: file times will be nonsense");
	else if (state < 0 || (t.status & STA_UNSYNC))
		doctor_say(DOCTOR_NOTE, "clock", "timedatectl set-ntp true, unless the host of this machine keeps it",
			   "not synchronized: file times that clients set may jump");
	else
		doctor_say(DOCTOR_OK, "clock", NULL, "synchronized");
	if (strcmp(source, "hpet") == 0 || strcmp(source, "acpi_pm") == 0)
		doctor_say(DOCTOR_NOTE, "clock source", "see why the kernel gave up on tsc: dmesg | grep -i tsc",
			   "%s: each look at the clock is a slow system call", source);
}

void doctor_host(struct doctor_host *ret)
{
	doctor_section("host");
	look_at_limits();
	look_at_shared_memory();
	look_at_kernel(ret);
	look_at_clocks();
}
