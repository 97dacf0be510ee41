/* Under the shim, over RDMA: buffers that a device knows, and what becomes of that when they are unmapped,
 * moved, emptied or mapped over. Each time the registration is gone before the call does anything; so no
 * read ever meets pages that are not the buffer's, and none has to be repeated.
 *
 * And what must not happen: that a read changes memory that is not its buffer any more, or was made
 * read-only.
 *
 *   verbs_hooks FILE COPY LIBRARY
 *
 * FILE is under the prefix, COPY the same bytes, LIBRARY libff3fs.so as the shim has loaded it, whose
 * counters are looked at. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <malloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "../common/client/ff3fs.h"

#define SIZE (256u * 1024)

static int fd;
static unsigned char want[SIZE];
static int (*rdma_stats)(struct ff3fs_rdma_stats *);

#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #x, errno);  \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static struct ff3fs_rdma_stats stats(void)
{
	struct ff3fs_rdma_stats s;

	CHECK(rdma_stats(&s) == 0);
	return s;
}

static void *map_at(void *at, size_t len)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0),
		       -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void read_into(void *p)
{
	memset(p, 0xee, SIZE);
	CHECK(pread(fd, p, SIZE, 0) == (ssize_t)SIZE);
	CHECK(memcmp(p, want, SIZE) == 0);
}

/* A buffer that was read into, then what is done to it; then other pages are there. */
static void *unmapped(void *p)
{
	CHECK(munmap(p, SIZE) == 0);
	return map_at(p, SIZE);
}

static void *mapped_over(void *p)
{
	return map_at(p, SIZE);
}

static void *moved(void *p)
{
	void *q = map_at(NULL, SIZE);

	CHECK(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	/* Where it was is another one. */
	read_into(map_at(p, SIZE));
	return q;
}

static void *emptied(void *p)
{
	CHECK(madvise(p, SIZE, MADV_DONTNEED) == 0);
	return p;
}

static void *in_part(void *p)
{
	CHECK(munmap((char *)p + SIZE / 2, SIZE / 2) == 0);
	map_at((char *)p + SIZE / 2, SIZE / 2);
	return p;
}

static const struct {
	const char *name;
	void *(*change)(void *p);
} changes[] = {
	{ "munmap", unmapped },	     { "mmap over it", mapped_over }, { "mremap", moved },
	{ "MADV_DONTNEED", emptied }, { "munmap of a part", in_part },
};

/* --- Memory that is somebody else's ------------------------------------------------------------------ */

static void all_are(const unsigned char *p, unsigned char byte)
{
	for (size_t i = 0; i < SIZE; i++)
		CHECK(p[i] == byte);
}

/* Pages at an address that is free now, without a word to the shim. */
static void *map_where(void *at, size_t len)
{
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p == at);
	return p;
}

/* A segment that others have, too: what is read where it was attached is none of their business. */
static void detached(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, 0600);
	void *p = shmat(id, NULL, 0);
	unsigned char *other = shmat(id, NULL, 0);

	CHECK(id >= 0 && p != (void *)-1 && other != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0);
	read_into(p);
	read_into(p);
	CHECK(memcmp(other, want, SIZE) == 0);
	memset(other, 0x55, SIZE);
	CHECK(shmdt(p) == 0);
	map_where(p, SIZE);
	read_into(p);
	all_are(other, 0x55);
	shmdt(other);
	munmap(p, SIZE);
}

/* The pages of a large buffer move when it grows, inside libc. */
static void grown(void)
{
	char *p = malloc(SIZE), *q;
	uintptr_t page = (uintptr_t)p & ~(uintptr_t)4095;

	CHECK(p);
	read_into(p);
	read_into(p);
	q = realloc(p, 64 * SIZE);
	CHECK(q && (uintptr_t)q != page + ((uintptr_t)p & 4095));
	memset(q, 0x55, SIZE);
	map_where((void *)page, SIZE + 4096);
	read_into((void *)(page + 16));
	all_are((unsigned char *)q, 0x55);
	free(q);
	munmap((void *)page, SIZE + 4096);
}

static void read_only(int (*protect)(void *, size_t, int), int prot)
{
	unsigned char *p = map_at(NULL, SIZE);

	read_into(p);
	read_into(p);
	memset(p, 0xee, SIZE);
	CHECK(protect(p, SIZE, prot) == 0);
	errno = 0;
	CHECK(pread(fd, p, SIZE, 0) == -1 && errno == EFAULT);
	CHECK(mprotect(p, SIZE, PROT_READ | PROT_WRITE) == 0);
	all_are(p, 0xee);
	read_into(p);
	munmap(p, SIZE);
}

static int with_key(void *p, size_t len, int prot)
{
	return pkey_mprotect(p, len, prot, -1);
}

static void others(void)
{
	static const struct {
		const char *name;
		int (*protect)(void *, size_t, int);
		int prot;
	} protections[] = { { "mprotect PROT_READ", mprotect, PROT_READ },
			    { "mprotect PROT_NONE", mprotect, PROT_NONE },
			    { "pkey_mprotect PROT_READ", with_key, PROT_READ } };

	CHECK(mallopt(M_MMAP_THRESHOLD, 65536) == 1);
	detached();
	printf("shmdt: the segment is unharmed\n");
	grown();
	printf("realloc: the grown buffer is unharmed\n");
	for (unsigned i = 0; i < sizeof protections / sizeof protections[0]; i++) {
		read_only(protections[i].protect, protections[i].prot);
		printf("%s: EFAULT\n", protections[i].name);
	}
}

int main(int argc, char **argv)
{
	void *library;
	int copy;

	CHECK(argc == 4);
	fd = open(argv[1], O_RDONLY);
	copy = open(argv[2], O_RDONLY);
	CHECK(fd >= 0 && copy >= 0 && read(copy, want, SIZE) == (ssize_t)SIZE);
	library = dlopen(argv[3], RTLD_NOW | RTLD_NOLOAD);
	CHECK(library);
	*(void **)&rdma_stats = dlsym(library, "ff3fs_rdma_stats");
	CHECK(rdma_stats);
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		void *p = map_at(NULL, SIZE);
		struct ff3fs_rdma_stats before, after;

		read_into(p);
		read_into(p);
		before = stats();
		p = changes[i].change(p);
		CHECK(stats().dropped > before.dropped);
		for (int k = 0; k < 3; k++)
			read_into(p);
		after = stats();
		/* A read that went wrong would have been repeated through a buffer. */
		CHECK(after.copies == before.copies);
		CHECK(after.known > before.known);
		printf("%s: dropped %d\n", changes[i].name, (int)(after.dropped - before.dropped));
		munmap(p, SIZE);
	}
	others();
	return 0;
}
