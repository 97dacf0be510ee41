/* What the files of e2e-client share. */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../common/client/ff3fs.h"

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)
#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

void fail_at(const char *file, int line, const char *what, long long got, long long want);
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail_at(__FILE__, __LINE__, #cond, 0, 1);                                  \
	} while (0)
#define EQ(expr, want)                                                                             \
	do {                                                                                       \
		long long got_ = (expr), want_ = (want);                                           \
		if (got_ != want_)                                                                 \
			fail_at(__FILE__, __LINE__, #expr, got_, want_);                           \
	} while (0)
#define OK(expr) EQ(expr, 0)

extern struct ff3fs *fs;
extern char dir[64]; /* of this test, from the root */

/* "DIR/name", valid until the eighth next call. */
const char *in_dir(const char *name);
struct ff3fs *client(void);
struct ff3fs_file *open_file(struct ff3fs *c, const char *path, int flags);
uint64_t random_u64(uint64_t *state);
/* Bytes that tell where and by whom they were written. */
void fill(void *buf, size_t len, uint64_t offset, uint64_t who);
/* Offset of the first byte that is not as fill made it; -1: none. */
long long differs(const void *buf, size_t len, uint64_t offset, uint64_t who);
/* ThreadSanitizer ends children that make threads. */
#ifdef __SANITIZE_THREAD__
#define CHILDREN 0
#else
#define CHILDREN 1
#endif
void forked(void (*fn)(uint64_t arg), int n);

/* e2e-client-names.c, -io.c, -many.c, -batch.c */
void test_names(void);
void test_attrs(void);
void test_directory(void);
void test_listing(void);
void test_calls(void);
void test_fault(void);
void test_sizes(void);
void test_holes(void);
void test_model(void);
void test_append(void);
void test_fork(void);
void test_fork_busy(void);
void test_unlinked(void);
void test_cut(void);
void test_coherence(void);
void test_read_ahead(void);
void test_batch(void);
void test_batch_pair(void);
void test_threads(void);
void test_signals(void);

/* e2e-client-load.c */
int load_main(int argc, char **argv);
int compare_main(int argc, char **argv);
int linger_main(int argc, char **argv);
int cuts_main(int argc, char **argv);
int asks_main(int argc, char **argv);
int speed_main(int argc, char **argv);
