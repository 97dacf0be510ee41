/* A file of its own: the RDMA module has nothing else of this folder. */
#include <fcntl.h>
#include <sys/resource.h>

#include "base.h"

#define HIGH_FD 500

void ff3_fd_move_high(int *fd)
{
	struct rlimit limit;
	int from = HIGH_FD, high;

	if (*fd < 0 || *fd >= HIGH_FD)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= HIGH_FD + 64)
		from = (int)(limit.rlim_cur * 3 / 4);
	high = fcntl(*fd, F_DUPFD_CLOEXEC, from);
	if (high < 0)
		return;
	close(*fd);
	*fd = high;
}
