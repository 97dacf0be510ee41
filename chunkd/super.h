/* The superblock of a target: what it is and to whom it belongs. */
#pragma once

#include "../common/base/base.h"

struct chunkd_super {
	uint64_t target;  /* the target's id, random */
	uint64_t node;	  /* the daemon's id, random, the same in all its targets */
	uint64_t cluster; /* 0: not registered yet */
	uint64_t made_ns; /* CLOCK_REALTIME */
};

/* Takes the directory for this process (made if absent): the lock is held until *ret_lock_fd is
 * closed. -EBUSY: another daemon has it. */
int chunkd_super_lock(const char *dir, int *ret_dir_fd, int *ret_lock_fd);
/* -ENOENT: a new directory; -EUCLEAN: damaged, or of another format. */
int chunkd_super_read(int dir_fd, struct chunkd_super *ret);
/* Replaces it durably. */
int chunkd_super_write(int dir_fd, const struct chunkd_super *super);
