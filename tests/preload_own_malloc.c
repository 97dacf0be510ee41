/* A program's own allocator (linked with preload_allocators.c), which knows its blocks: another's that is freed or
 * grown here ends the program. And a thread can be forbidden to allocate. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "sure.h"

/* In front of each block. */
struct head {
	void *base;
	size_t size;
	uint64_t magic;
};

#define MAGIC 0x6f776e206d616c6cull

void *__libc_malloc(size_t size);
void __libc_free(void *p);
void forbid_allocating(const char *what);

static __thread const char *forbidden __attribute__((tls_model("initial-exec")));

void forbid_allocating(const char *what)
{
	forbidden = what;
}

static void stop(const char *why, const char *what)
{
	(void)!write(2, why, strlen(why));
	(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	abort();
}

static void look(void)
{
	if (forbidden)
		stop("allocates: ", forbidden);
}

static struct head *head_of(void *p)
{
	struct head *h = (struct head *)p - 1;

	if (h->magic != MAGIC)
		stop("a block of another allocator: ", "ours is given it");
	return h;
}

static void *take(size_t align, size_t size)
{
	char *base, *p;

	look();
	if (size > SIZE_MAX / 2 || !(base = __libc_malloc(size + align + sizeof(struct head))))
		return errno = ENOMEM, NULL;
	p = base + sizeof(struct head) + align - 1;
	p -= (uintptr_t)p % align;
	*((struct head *)p - 1) = (struct head){ base, size, MAGIC };
	return p;
}

void *malloc(size_t size)
{
	return take(16, size);
}

void free(void *p)
{
	struct head *h;

	if (!p)
		return;
	look();
	h = head_of(p);
	h->magic = 0;
	__libc_free(h->base);
}

void *calloc(size_t n, size_t size)
{
	void *p;

	if (size && n > SIZE_MAX / size)
		return errno = ENOMEM, NULL;
	p = malloc(n * size);
	return p ? memset(p, 0, n * size) : NULL;
}

void *realloc(void *p, size_t size)
{
	size_t before = p ? head_of(p)->size : 0;
	void *q = malloc(size);

	if (q && p) {
		memcpy(q, p, before < size ? before : size);
		free(p);
	}
	return q;
}

void *memalign(size_t align, size_t size)
{
	return take(align < 16 ? 16 : align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	return memalign(align, size);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
	void *p = memalign(align, size);

	return p ? *ret = p, 0 : ENOMEM;
}

size_t malloc_usable_size(void *p)
{
	return p ? head_of(p)->size : 0;
}
