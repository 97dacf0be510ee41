/* Mappings in the hands of torture's threads: a board that all map shared, of which each thread has a part
 * (parts share pages) that it stores to by mapping and by call, compared with a model; and a file that
 * is mapped private and loaded when touched, where the environment says so: its pages come and go, those that
 * were stored to stay. */
#include "torture.h"

#include <sys/mman.h>

#define PAGE 4096ul
#define PART 6000
#define PARTS 12
#define BOARD (PART * PARTS)

/* --- Shared -------------------------------------------------------------------------------- */

struct board {
	int fd;
	size_t at; /* of the part */
	uint8_t *map;
	uint8_t model[PART], buf[PART];
};

static _Atomic size_t parts_taken;

void maps_begin(void)
{
	char path[PATH_SIZE];
	int fd = MUST(open(path_of(path, "board", 0), O_RDWR | O_CREAT, 0644));

	MUST(ftruncate(fd, BOARD));
	MUST(close(fd));
}

static void board_map(struct board *b)
{
	b->map = mmap(NULL, BOARD, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
	if (b->map == MAP_FAILED)
		FAIL("mmap of the board: %s", strerror(errno));
}

struct board *board_new(void)
{
	struct board *b = calloc(1, sizeof *b);
	char path[PATH_SIZE];

	if (!b)
		FAIL("no memory");
	b->at = PART * parts_taken++;
	if (b->at >= BOARD)
		FAIL("the board is too small");
	b->fd = MUST(open(path_of(path, "board", 0), O_RDWR | O_CLOEXEC));
	board_map(b);
	return b;
}

static void board_compare(struct board *b, const uint8_t *got, const char *how)
{
	for (size_t i = 0; i < PART; i++)
		if (got[i] != b->model[i])
			FAIL("the board by %s: byte %zu of part %zu is %02x, not %02x", how, i,
			     b->at / PART, got[i], b->model[i]);
}

void board_store(struct board *b, unsigned *rnd)
{
	size_t at = some(rnd, PART), n = some(rnd, PART - at) + 1;

	for (size_t i = 0; i < n; i++)
		b->model[at + i] = (uint8_t)rand_r(rnd);
	memcpy(b->map + b->at + at, b->model + at, n);
}

void board_check(struct board *b)
{
	board_compare(b, b->map + b->at, "mapping");
	if (AGAIN(pread(b->fd, b->buf, PART, (off_t)b->at)) != PART)
		FAIL("the board: a short read");
	board_compare(b, b->buf, "pread");
}

void board_free(struct board *b)
{
	MUST(munmap(b->map, BOARD));
	MUST(close(b->fd));
	free(b);
}

static void mapper_begin(struct me *m)
{
	m->own = board_new();
}

static void mapper_step(struct me *m)
{
	struct board *b = m->own;
	uintptr_t from = ((uintptr_t)b->map + b->at) & ~(PAGE - 1);

	switch (some(&m->rnd, 7)) {
	case 0:
		board_check(b);
		MUST(munmap(b->map, BOARD));
		board_map(b);
		break;
	case 1:
		MUST(msync((void *)from, PART, some(&m->rnd, 2) ? MS_SYNC : MS_ASYNC));
		break;
	case 2:
		for (size_t i = 0; i < PART; i++)
			b->model[i] = (uint8_t)rand_r(&m->rnd);
		if (AGAIN(pwrite(b->fd, b->model, PART, (off_t)b->at)) != PART)
			FAIL("the board: a short write");
		break;
	case 3:
		AGAIN(fsync(b->fd));
		break;
	case 4:
		board_check(b);
		break;
	default:
		board_store(b, &m->rnd);
	}
}

static void mapper_end(struct me *m)
{
	board_check(m->own);
	board_free(m->own);
}

const struct role role_mapper = {
	.name = "mapper", .threads = 3, .begin = mapper_begin, .step = mapper_step, .end = mapper_end
};

/* --- Private ------------------------------------------------------------------------------- */

struct lazy {
	uint8_t *map;
	size_t n_pages;
	uint32_t stored[]; /* by page: what the stored bytes follow from, or 0 */
};

static void lazy_map(struct lazy *l)
{
	l->map = mmap(NULL, big.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, big.fd, 0);
	if (l->map == MAP_FAILED)
		FAIL("mmap of the big file: %s", strerror(errno));
	memset(l->stored, 0, l->n_pages * sizeof *l->stored);
}

static void store_page(struct lazy *l, size_t page, uint32_t generation)
{
	for (size_t i = 0; i < PAGE; i++)
		l->map[page * PAGE + i] = byte_at(generation, i);
	l->stored[page] = generation;
}

struct lazy *lazy_new(void)
{
	size_t n_pages = big.size / PAGE; /* whole ones */
	struct lazy *l = calloc(1, sizeof *l + n_pages * sizeof *l->stored);

	if (!l)
		FAIL("no memory");
	l->n_pages = n_pages;
	lazy_map(l);
	store_page(l, 1, 77);
	store_page(l, n_pages / 2, 78);
	return l;
}

static void check_page(const struct lazy *l, size_t page)
{
	const uint8_t *p = l->map + page * PAGE;

	if (l->stored[page])
		check_bytes("a stored page", p, PAGE, l->stored[page], 0);
	else
		check_bytes("a loaded page", p, PAGE, big.seed, page * PAGE);
}

void lazy_check(struct lazy *l, unsigned *rnd)
{
	size_t first = some(rnd, l->n_pages), n = some(rnd, 20);

	check_page(l, 1);
	check_page(l, l->n_pages / 2);
	for (size_t i = first; i < l->n_pages && i < first + n; i++)
		check_page(l, i);
}

void lazy_free(struct lazy *l)
{
	MUST(munmap(l->map, big.size));
	free(l);
}

/* A mapping as the buffer of a call. */
static void lazy_call(struct lazy *l, unsigned *rnd)
{
	const struct shared *s = &shared[some(rnd, N_SHARED)];
	size_t page = some(rnd, l->n_pages - 8), n = some(rnd, 8 * PAGE), at = some(rnd, s->size);
	uint8_t *p = l->map + page * PAGE;
	ssize_t got = pread(s->fd, p, n, (off_t)at);

	check_count("pread into a mapping", got, n, s->size, at);
	check_bytes("pread into a mapping", p, (size_t)got, s->seed, at);
	MUST(madvise(p, 8 * PAGE, MADV_DONTNEED));
	memset(&l->stored[page], 0, 8 * sizeof *l->stored);
	check_page(l, page);
}

static void lazy_begin(struct me *m)
{
	m->own = lazy_new();
}

static void lazy_step(struct me *m)
{
	struct lazy *l = m->own;

	switch (some(&m->rnd, 16)) {
	case 0:
		if (some(&m->rnd, 10) == 0) {
			MUST(munmap(l->map, big.size));
			lazy_map(l);
		}
		break;
	case 1:
	case 2:
		store_page(l, some(&m->rnd, l->n_pages), (uint32_t)rand_r(&m->rnd) | 1);
		break;
	case 3:
		lazy_call(l, &m->rnd);
		break;
	default:
		lazy_check(l, &m->rnd);
	}
}

static void lazy_end(struct me *m)
{
	struct lazy *l = m->own;

	for (size_t i = 0; i < l->n_pages; i++)
		check_page(l, i);
	lazy_free(l);
}

const struct role role_lazy = {
	.name = "lazy", .threads = 2, .begin = lazy_begin, .step = lazy_step, .end = lazy_end
};
