/* What the torture*.c files share: the directory, the files that everybody reads, checks that end the
 * process at the first wrong byte or result, and the roles that threads play (torture.c). */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_SHARED 6
#define PIECE (256 * 1024)
#define PATH_SIZE 2100

extern char dir[2048];
extern unsigned seed0;
extern _Atomic int stop;

/* A file that does not change: each byte follows from the seed and its offset. */
struct shared {
	int fd;
	uint64_t seed;
	size_t size;
};
extern struct shared shared[N_SHARED];
extern struct shared big; /* is loaded when touched, if mapped */

/* A thread. */
struct me {
	int number;
	unsigned rnd;
	uint8_t *buf; /* PIECE bytes */
	void *own;
	/* Its handlers may use files: it is not in malloc but inside the client. */
	volatile bool may_call;
	_Atomic unsigned long steps;
};
extern __thread struct me *me;

struct role {
	const char *name;
	int threads;
	bool forks; /* steps are made alone, where one wants calm */
	void (*begin)(struct me *m);
	void (*step)(struct me *m);
	void (*end)(struct me *m);
};
extern const struct role role_reader, role_opener, role_writer, role_appender, role_forker, role_executer,
	role_submitter, role_poster, role_ringer, role_mapper, role_lazy, role_locker, role_walker,
	role_closer, role_racer, role_canceller;

#define FAIL(...)                                                                                  \
	do {                                                                                       \
		fprintf(stderr, "torture: pid %d: ", (int)getpid());                               \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		fail();                                                                            \
	} while (0)
#define MUST(call)                                                                                 \
	({                                                                                         \
		__typeof__(call) _r = (call);                                                      \
		if (_r < 0)                                                                        \
			FAIL("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(errno));         \
		_r;                                                                                \
	})
/* Interrupted by a handler without SA_RESTART, it is made again. */
#define AGAIN(call)                                                                                \
	({                                                                                         \
		__typeof__(call) _again;                                                           \
		while ((_again = (call)) < 0 && errno == EINTR)                                    \
			;                                                                          \
		if (_again < 0)                                                                    \
			FAIL("%s:%d: %s: %s", __FILE__, __LINE__, #call, strerror(errno));         \
		_again;                                                                            \
	})
void fail(void) __attribute__((noreturn));

static inline size_t some(unsigned *rnd, size_t n)
{
	return (size_t)rand_r(rnd) % n;
}

static inline uint8_t byte_at(uint64_t seed, uint64_t offset)
{
	return (uint8_t)(((offset / 8 + seed) * 0x9e3779b97f4a7c15ull) >> (offset % 8 * 8));
}

const char *path_of(char *buf, const char *name, int i);
void check_bytes(const char *how, const uint8_t *p, size_t n, uint64_t seed, uint64_t offset);
void check_count(const char *how, ssize_t got, size_t asked, size_t size, size_t offset);
/* Makes it, with a pattern of its own, and opens it for reading. */
void make_shared(struct shared *s, const char *name, int i, size_t size);

/* torture_files.c */
void read_shared(unsigned *rnd, uint8_t *buf);
void read_by_dup(unsigned *rnd, uint8_t *buf);
void read_by_map(unsigned *rnd);
void log_begin(void);
void log_append(int fd, uint32_t id, uint32_t number);
void log_count(uint32_t n); /* records that a child has written */
void log_check(void);

/* torture_child.c */
int verify_inherited(char **argv);

/* torture_maps.c */
void maps_begin(void);
/* A part of a file that all map: this process's view of it, a model of what is there. */
struct board *board_new(void);
void board_store(struct board *b, unsigned *rnd);
void board_check(struct board *b);
void board_free(struct board *b);
/* A private mapping of the big file, with some stores. */
struct lazy *lazy_new(void);
void lazy_check(struct lazy *l, unsigned *rnd);
void lazy_free(struct lazy *l);

/* torture_names.c */
void names_begin(void);
/* Counts under a lock that excludes other processes; what a child has counted is told to count_told. */
void count_in_child(void);
void count_told(void);
void count_check(void);

/* torture_signal.c */
void signals_begin(void);
unsigned long signals_handled(void), signals_refused(void);
