/* Purpose: the mapping of the memory of a connection (shm.h), and large pages in it.
 *
 * A disk that reads 1 MiB to 256 pages here and there gets 256 pieces of memory to write to, or, as block devices take
 * less, two requests; to a large page it is one piece and one request. Whoever may not configure the machine gets
 * large pages of shared memory by asking the kernel to put together what is there (MADV_COLLAPSE, Linux 6.1), which it
 * does unless shmem_enabled says deny. It cannot while a device writes to one of the pages, so that is asked for before
 * the first use.
 *
 * Threads: any. Fork/signal: nothing is kept. */
#include <sys/mman.h>

#include "shm.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

int ff3_shm_map(int fd, void **ret)
{
	const size_t room = (size_t)FF3_SHM_SIZE + FF3_SHM_HUGE;
	uint8_t *all = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), *map;
	size_t before;

	if (all == MAP_FAILED)
		return -errno;
	before = -(uintptr_t)all % FF3_SHM_HUGE;
	map = mmap(all + before, FF3_SHM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED) {
		int r = -errno;

		munmap(all, room);
		return r;
	}
	if (before > 0)
		munmap(all, before);
	munmap(map + FF3_SHM_SIZE, FF3_SHM_HUGE - before);
	*ret = map;
	return 0;
}

void ff3_shm_make_huge(void *map, atomic_bool tried[FF3_SHM_N_HUGE], uint32_t page, uint32_t n)
{
	const uint32_t each = FF3_SHM_HUGE / FF3_SHM_PAGE;

	for (uint32_t i = page / each; i <= (page + n - 1) / each; i++) {
		uint8_t *p = ff3_shm_data(map) + (size_t)i * FF3_SHM_HUGE;

		if (atomic_load_explicit(&tried[i], memory_order_relaxed) ||
		    atomic_exchange_explicit(&tried[i], true, memory_order_relaxed))
			continue;
		(void)*(volatile uint8_t *)p; /* where there is nothing, nothing is put together */
		(void)madvise(p, FF3_SHM_HUGE, MADV_COLLAPSE);
	}
}
