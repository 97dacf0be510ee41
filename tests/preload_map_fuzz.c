/* A random program of mappings and calls on two files in the directory of argument 1; argument 2 is the seed, 3 how
 * many steps. Every byte, errno and signal that it sees is printed, so a local directory must print the
 * same. Another process, forked at the start, changes and reads the files too, and children forked on the way look at
 * all mappings.
 *
 * What POSIX leaves open is left out: a private page whose file has changed there since it was mapped is not
 * looked at, and nothing is stored behind the end of a file. Private mappings do not grow here. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "preload_show.h"

#define PAGE 4096
#define FILES 2
#define FILE_PAGES 320 /* more than a chunk */
#define SLOTS 6
#define SLOT_PAGES 96

static struct {
	int rw, ro;
	long size;
	unsigned version[FILE_PAGES + SLOT_PAGES]; /* when a page was changed */
} file[FILES];

/* What a page of a slot shows. */
struct page {
	bool mapped, private, stored, unsure;
	int file, at, prot;
	unsigned since;
};

static struct slot {
	char *addr;
	int n;
	bool whole; /* one mapping, never split */
	struct page page[SLOT_PAGES];
} slots[SLOTS];

static unsigned now = 1;
static uint64_t state;

static unsigned below(unsigned n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(state >> 33) % n;
}

static const char *result(long r)
{
	static char text[32];

	if (r == -1)
		return strerrorname_np(errno);
	snprintf(text, sizeof text, "%ld", r);
	return text;
}

static void changed(int f, long from, long to)
{
	now++;
	for (long p = from / PAGE; p * PAGE < to && p < FILE_PAGES + SLOT_PAGES; p++)
		file[f].version[p] = now;
}

static void fill(char *buf, size_t n, unsigned seed)
{
	for (size_t k = 0; k < n; k++)
		buf[k] = (char)((seed * 31 + k) * 2654435761u >> 11);
}

static unsigned sum(const char *p, long n)
{
	unsigned h = 2166136261u;

	for (long k = 0; k < n; k++)
		h = (h ^ (unsigned char)p[k]) * 16777619u;
	return h;
}

/* --- Touching memory ----------------------------------------------------------------------- */

static sigjmp_buf back;

static void on_fault(int sig)
{
	siglongjmp(back, sig);
}

/* Prints the sum of a page, or the signal. */
static void load(FILE *out, const char *p)
{
	int sig = sigsetjmp(back, 1);

	if (sig == 0)
		fprintf(out, " %08x", sum(p, PAGE));
	else
		fprintf(out, " %s", sig == SIGBUS ? "BUS" : "SEGV");
}

/* The signal, or 0. */
static int store(char *p, size_t n, unsigned seed)
{
	int sig = sigsetjmp(back, 1);

	if (sig == 0)
		fill(p, n, seed);
	return sig;
}

/* Is it certain what a page shows? */
static bool certain(const struct page *p)
{
	return p->mapped && !p->unsure && (!p->private || file[p->file].version[p->at] <= p->since);
}

static void load_pages(FILE *out, const struct slot *s, int from, int to)
{
	for (int k = from; k < to; k++)
		if (certain(&s->page[k]))
			load(out, s->addr + (size_t)k * PAGE);
		else
			fprintf(out, " -");
	fprintf(out, "\n");
}

static void store_page(FILE *out, struct slot *s, int k)
{
	struct page *p = &s->page[k];
	long left = file[p->file].size - (long)p->at * PAGE, from = below(PAGE), n = 1 + below(300);
	int sig;

	if (!certain(p))
		return;
	if (left <= 0)
		left = PAGE; /* SIGBUS */
	if (from >= left)
		from = left - 1;
	if (n > left - from || n > PAGE - from)
		n = left - from < PAGE - from ? left - from : PAGE - from;
	sig = store(s->addr + (size_t)k * PAGE + from, n, now);
	fprintf(out, "store %ld at %ld of page %d: %d\n", n, from, k, sig);
	if (sig == 0 && !p->private)
		changed(p->file, (long)p->at * PAGE, (long)p->at * PAGE + 1);
	p->stored |= sig == 0 && p->private;
}

/* --- Calls on a file, by this process or by the other one ---------------------------------- */

struct order {
	int kind, file;
	long offset, n;
	unsigned seed;
};

static char buf[1 << 19];

static void read_call(FILE *out, const struct order *o)
{
	long r = pread(file[o->file].rw, buf, o->n, o->offset);

	fprintf(out, "pread %ld at %ld = %s", o->n, o->offset, result(r));
	fprintf(out, " %08x\n", sum(buf, r));
}

static void map_call(FILE *out, const struct order *o)
{
	long start = o->offset / PAGE * PAGE;
	char *m = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file[o->file].rw, start);

	fprintf(out, "mapping page %ld:", start / PAGE);
	if (m == MAP_FAILED) {
		fprintf(out, " %s\n", result(-1));
		return;
	}
	load(out, m);
	if (o->n > 0)
		fprintf(out, " store %d", store(m + o->offset % PAGE, 1, o->seed));
	load(out, m);
	fprintf(out, " munmap %s\n", result(munmap(m, 2 * PAGE)));
}

static void perform(FILE *out, const struct order *o)
{
	struct stat st;

	switch (o->kind) {
	case 0:
		read_call(out, o);
		break;
	case 1:
		fill(buf, o->n, o->seed);
		fprintf(out, "pwrite %ld at %ld = %s\n", o->n, o->offset,
			result(pwrite(file[o->file].rw, buf, o->n, o->offset)));
		break;
	case 2:
		fprintf(out, "ftruncate %ld = %s\n", o->offset, result(ftruncate(file[o->file].rw, o->offset)));
		break;
	case 3:
		map_call(out, o);
		break;
	case 4:
		fprintf(out, "fsync = %s\n", result(fsync(file[o->file].rw)));
		break;
	}
	fprintf(out, "size %ld\n", fstat(file[o->file].rw, &st) == 0 ? (long)st.st_size : -1);
}

static struct order choose(void)
{
	struct order o = { .kind = below(5), .file = below(FILES), .seed = now };
	long size = file[o.file].size;

	o.offset = below(4) ? below(FILE_PAGES * PAGE) : below(4 * PAGE);
	o.n = 1 + below(below(3) ? 9000 : sizeof buf);
	if (o.n > FILE_PAGES * PAGE - o.offset)
		o.n = FILE_PAGES * PAGE - o.offset;
	switch (o.kind) {
	case 1:
		changed(o.file, o.offset < size ? o.offset : size, o.offset + o.n);
		file[o.file].size = o.offset + o.n > size ? o.offset + o.n : size;
		break;
	case 2:
		changed(o.file, o.offset < size ? o.offset : size, (FILE_PAGES + SLOT_PAGES) * PAGE);
		file[o.file].size = o.offset;
		break;
	case 3:
		o.n = o.offset < size && below(2);
		if (o.n)
			changed(o.file, o.offset, o.offset + 1);
		break;
	}
	return o;
}

/* The other process: a line or two for each order. */
static void serve(int sock)
{
	FILE *out = fdopen(dup(sock), "w");
	struct order o;

	while (read(sock, &o, sizeof o) == sizeof o) {
		perform(out, &o);
		fputc('.', out);
		fflush(out);
	}
	_exit(0);
}

static void ask(int sock, FILE *from, const struct order *o)
{
	int c;

	CHECK(write(sock, o, sizeof *o) == sizeof *o);
	printf("the other: ");
	while ((c = fgetc(from)) != '.') {
		CHECK(c != EOF);
		putchar(c);
	}
}

/* --- Calls on mappings --------------------------------------------------------------------- */

static void note(struct slot *s, int from, int n, struct page as)
{
	as.since = now;
	for (int k = from; k < from + n; k++, as.at++)
		s->page[k] = as;
}

/* In a free slot, or over up to `max` pages of one. */
static void map(struct slot *s, int from, int max)
{
	static const int prots[] = { PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_NONE };
	struct page as = { .mapped = true, .private = below(3) == 0, .file = below(FILES) };
	bool writable = below(4), fixed = s->addr != NULL;
	int n = fixed ? max : 1 + below(below(3) ? 8 : SLOT_PAGES);
	char *m;

	as.prot = prots[below(4)];
	as.at = below(below(2) ? 8 : FILE_PAGES);
	m = mmap(fixed ? s->addr + (size_t)from * PAGE : NULL, (size_t)n * PAGE, as.prot,
		 (as.private ? MAP_PRIVATE : MAP_SHARED) | (fixed ? MAP_FIXED : 0),
		 writable ? file[as.file].rw : file[as.file].ro, (off_t)as.at * PAGE);
	printf("mmap %d of file %d at %d, %s %d %s%s: %s\n", n, as.file, as.at, as.private ? "private" : "shared", as.prot,
	       writable ? "rw" : "ro", fixed ? " fixed" : "", m == MAP_FAILED ? strerrorname_np(errno) : "done");
	if (m == MAP_FAILED)
		return;
	if (!fixed)
		*s = (struct slot){ .addr = m, .n = n, .whole = true };
	else
		s->whole = false;
	note(s, from, n, as);
}

static void unmap(struct slot *s, int from, int n)
{
	printf("munmap %d at %d: %s\n", n, from, result(munmap(s->addr + (size_t)from * PAGE, (size_t)n * PAGE)));
	for (int k = from; k < from + n; k++)
		s->page[k].mapped = false;
	s->whole = false;
	for (int k = 0; k < s->n; k++)
		if (s->page[k].mapped)
			return;
	s->addr = NULL;
}

static void remap(struct slot *s)
{
	int n = 1 + below(SLOT_PAGES), old = s->n;
	struct page as = s->page[old - 1];
	char *m;

	if (!s->whole)
		return;
	if (as.private && n > old) /* a private mapping of a part may refuse: preload_map.c, "grow" */
		n = old;
	m = mremap(s->addr, (size_t)old * PAGE, (size_t)n * PAGE, MREMAP_MAYMOVE);
	printf("mremap %d to %d: %s\n", old, n, m == MAP_FAILED ? strerrorname_np(errno) : "done");
	if (m == MAP_FAILED)
		return;
	s->addr = m, s->n = n;
	as.at++, as.stored = false;
	if (n > old)
		note(s, old, n - old, as);
}

static void protect(struct slot *s, int from, int n)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	int prot = prots[below(3)], r;

	if (!s->whole) /* one page: what an error leaves half done is nobody's contract */
		n = 1;
	r = mprotect(s->addr + (size_t)from * PAGE, (size_t)n * PAGE, prot);
	printf("mprotect %d at %d, %d: %s\n", n, from, prot, result(r));
	s->whole = s->whole && (r < 0 || (from == 0 && n == s->n));
}

static void advise(struct slot *s, int from, int n)
{
	static const int advice[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_WILLNEED, MADV_SEQUENTIAL, MADV_RANDOM };
	int a = below(5);

	if (a >= 3 && !(from == 0 && n == s->n))
		a = 0; /* those split a mapping */
	printf("madvise %d at %d, %d: %s\n", n, from, advice[a],
	       result(madvise(s->addr + (size_t)from * PAGE, (size_t)n * PAGE, advice[a])));
	for (int k = from; a < 2 && k < from + n; k++)
		s->page[k].stored = false;
}

static void sync_pages(struct slot *s, int from, int n)
{
	static const int flags[] = { MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE };
	int f = flags[below(3)];

	printf("msync %d at %d, %d: %s\n", n, from, f, result(msync(s->addr + (size_t)from * PAGE, (size_t)n * PAGE, f)));
}

/* A child looks at everything, and stores to a page of each slot. */
static void look(void)
{
	int p[2], c, status;
	unsigned k[SLOTS];
	FILE *in;
	pid_t pid;

	CHECK(pipe(p) == 0);
	fflush(stdout);
	for (int i = 0; i < SLOTS; i++)
		k[i] = slots[i].addr ? below(slots[i].n) : 0;
	pid = fork();
	CHECK(pid >= 0);
	/* Both go through the stores, so that this process knows what has changed; it performs none. */
	if (pid == 0) {
		FILE *out = fdopen(p[1], "w");

		for (int i = 0; i < SLOTS; i++)
			if (slots[i].addr) {
				fprintf(out, "child, %d:", i);
				load_pages(out, &slots[i], 0, slots[i].n);
				if (slots[i].page[k[i]].private)
					store_page(out, &slots[i], k[i]);
			}
		fclose(out);
		_exit(0);
	}
	close(p[1]);
	in = fdopen(p[0], "r");
	while ((c = fgetc(in)) != EOF)
		putchar(c);
	fclose(in);
	CHECK(waitpid(pid, &status, 0) == pid);
	printf("child: %x\n", status);
}

static void reopen(int f)
{
	close(file[f].rw), close(file[f].ro);
	file[f].rw = open(at(f ? "one" : "zero"), O_RDWR);
	file[f].ro = open(at(f ? "one" : "zero"), O_RDONLY);
	CHECK(file[f].rw >= 0 && file[f].ro >= 0);
	printf("reopen %d\n", f);
}

/* --- The program --------------------------------------------------------------------------- */

static void on_slot(struct slot *s, unsigned what)
{
	int from = below(s->n), n = 1 + below(s->n - from);

	/* Where a slot has holes there may be anybody's mapping by now. */
	for (int k = 0; k < n; k++)
		if (!s->page[from + k].mapped)
			n = k;
	if (n == 0)
		return;
	printf("slot %d: ", (int)(s - slots));
	switch (what) {
	case 0 ... 4:
		printf("load %d at %d:", n, from);
		load_pages(stdout, s, from, from + n);
		break;
	case 5 ... 9:
		store_page(stdout, s, from);
		break;
	case 10:
		unmap(s, from, below(2) ? n : 1);
		break;
	case 11:
		remap(s);
		break;
	case 12:
		protect(s, from, n);
		break;
	case 13:
		advise(s, from, n);
		break;
	case 14:
		sync_pages(s, from, n);
		break;
	case 15:
		map(s, from, n);
		break;
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_fault };
	int sock[2], steps;
	struct order o;
	FILE *from;

	dir = argv[1], state = strtoul(argv[2], NULL, 0), steps = atoi(argv[3]);
	sigaction(SIGBUS, &sa, NULL), sigaction(SIGSEGV, &sa, NULL);
	for (int f = 0; f < FILES; f++) {
		close(open(at(f ? "one" : "zero"), O_RDWR | O_CREAT | O_TRUNC, 0644));
		file[f].rw = file[f].ro = -1;
		reopen(f);
	}
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
	fflush(stdout); /* which the child would print once more, whenever it ends */
	if (fork() == 0) {
		close(sock[0]);
		serve(sock[1]);
	}
	close(sock[1]);
	from = fdopen(sock[0], "r");
	for (int k = 0; k < steps; k++) {
		struct slot *s = &slots[below(SLOTS)];
		unsigned what = below(26);

		printf("%d: ", k);
		if (what >= 24) {
			below(4) ? reopen(below(FILES)) : look();
		} else if (what >= 16) {
			o = choose();
			printf("file %d: ", o.file);
			below(2) ? perform(stdout, &o) : ask(sock[0], from, &o);
		} else if (s->addr) {
			on_slot(s, what);
		} else {
			map(s, 0, 0);
		}
		fflush(stdout);
	}
	return 0;
}
