/* Purpose: makes, lists and moves very many names through libff3fs, and tells how long it took.
 *
 *   names_drive make DIR N THREADS     regular files f0 … in DIR
 *   names_drive list DIR               counts the entries; twice the same name is an error
 *   names_drive move FROM TO N THREADS renames f0 … from one directory to another
 *   names_drive hold FILE              opens it, says so, reads it at each line of its input, until q
 *
 * Threads: workers take numbers from one counter. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/base/base.h"
#include "../common/client/ff3fs.h"

static struct ff3fs *fs;
static const char *from, *to;
static uint64_t n_names, from_ino, to_ino;
static _Atomic uint64_t next_name;
static _Atomic int failure;

static void make_one(uint64_t i)
{
	struct ff3fs_file *file;
	char name[32];
	int r;

	snprintf(name, sizeof name, "f%" PRIu64, i);
	r = ff3fs_open(fs, from_ino, name, O_CREAT | O_EXCL | O_WRONLY, 0644, &file);
	if (r >= 0)
		r = ff3fs_close(file);
	if (r < 0)
		failure = r;
}

static void move_one(uint64_t i)
{
	char name[32];
	int r;

	snprintf(name, sizeof name, "f%" PRIu64, i);
	r = ff3fs_rename(fs, from_ino, name, to_ino, name, 0);
	if (r < 0)
		failure = r;
}

static void *work(void *arg)
{
	void (*const one)(uint64_t i) = *(void (**)(uint64_t))arg;
	uint64_t i;

	while (failure == 0 && (i = next_name++) < n_names)
		one(i);
	return NULL;
}

static int run_threads(void (*one)(uint64_t i), unsigned n)
{
	pthread_t *threads = calloc(n, sizeof *threads);

	if (!threads)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, work, &one) != 0)
			abort();
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return failure;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The inodes are all different, since no file has two names. */
static int list(const char *path)
{
	const struct ff3fs_dirent *e;
	uint64_t *inos = NULL, n = 0, room = 0;
	struct ff3fs_dir *d;
	int r = ff3fs_opendir(fs, FF3FS_ROOT, path, 0, &d);

	if (r < 0)
		return r;
	while ((r = ff3fs_readdir(d, &e)) > 0) {
		if (e->name[0] == '.')
			continue;
		if (n == room) {
			room = MAX(room * 2, (uint64_t)1024);
			inos = realloc(inos, room * sizeof *inos);
			if (!inos)
				abort();
		}
		inos[n++] = e->ino;
	}
	ff3fs_closedir(d);
	n_names = n;
	if (n > 0)
		qsort(inos, n, sizeof *inos, compare);
	for (uint64_t i = 1; i < n && r >= 0; i++)
		r = inos[i] == inos[i - 1] ? -EEXIST : 0;
	free(inos);
	return r;
}

static int hold(const char *path)
{
	struct ff3fs_file *file;
	char buf[4096], line[64];
	int r = ff3fs_open(fs, FF3FS_ROOT, path, O_RDONLY, 0, &file);

	if (r < 0)
		return r;
	printf("held\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin) && line[0] != 'q') {
		ssize_t len = ff3fs_pread(file, buf, sizeof buf, 0);

		if (len < 0)
			return (int)len;
		printf("read %zd %.*s\n", len, (int)len, buf);
		fflush(stdout);
	}
	return ff3fs_close(file);
}

static int ino_of(const char *path, uint64_t *ret)
{
	struct ff3fs_attr attr;
	int r = ff3fs_stat(fs, FF3FS_ROOT, path, 0, &attr);

	*ret = attr.ino;
	return r;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	uint64_t began;
	int r = ff3fs_new(NULL, &fs);

	if (r < 0 || argc < 3)
		return 2;
	from = argv[2];
	began = ff3_boottime_ns();
	if (strcmp(what, "hold") == 0) {
		r = hold(from);
	} else if (strcmp(what, "list") == 0) {
		r = list(from);
	} else if (strcmp(what, "make") == 0 && argc == 5) {
		n_names = strtoull(argv[3], NULL, 10);
		r = ino_of(from, &from_ino);
		if (r >= 0)
			r = run_threads(make_one, (unsigned)atoi(argv[4]));
	} else if (strcmp(what, "move") == 0 && argc == 6) {
		to = argv[3];
		n_names = strtoull(argv[4], NULL, 10);
		r = ino_of(from, &from_ino);
		if (r >= 0)
			r = ino_of(to, &to_ino);
		if (r >= 0)
			r = run_threads(move_one, (unsigned)atoi(argv[5]));
	} else {
		return 2;
	}
	if (r < 0) {
		fprintf(stderr, "names_drive %s: %s\n", what, ff3fs_strerror(r));
		return 1;
	}
	if (strcmp(what, "hold") != 0) {
		double s = (double)(ff3_boottime_ns() - began) / 1e9;

		printf("%s %" PRIu64 " names in %.3f s: %.0f/s\n", what, n_names, s,
		       (double)n_names / s);
	}
	ff3fs_free(fs);
	return 0;
}
