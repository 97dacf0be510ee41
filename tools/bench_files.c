/* Purpose: many small files: create+write+close, stat, open+read+close, readdir, unlink. Each
 * thread has its own directory and its share of the files; file i holds pattern i.
 * Threads: each has its bench_run. */
#include <fcntl.h>
#include <stdio.h>

#include "../common/base/pattern.h"
#include "bench.h"

#define FILE_SIZE 4096u
#define PATH_SIZE 512

static void dir_path(const struct bench_run *run, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/files.%u", run->dir, run->thread);
}

static void file_path(const struct bench_run *run, uint64_t i, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/files.%u/%06" PRIu64, run->dir, run->thread, i);
}

static uint64_t share(const struct bench_run *run)
{
	return MAX(run->options->n_files / run->n_threads, (uint64_t)1);
}

int bench_create(struct bench_run *run)
{
	uint64_t buf[FILE_SIZE / 8];
	char path[PATH_SIZE];
	int r;

	dir_path(run, path);
	r = ff3fs_mkdir(run->fs, FF3FS_ROOT, path, 0755);
	for (uint64_t i = 0; i < share(run) && r == 0; i++, run->n_ops++) {
		uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC);
		struct ff3fs_file *f;
		ssize_t n;

		file_path(run, i, path);
		ff3_pattern_fill(buf, sizeof buf, i, 0);
		r = ff3fs_open(run->fs, FF3FS_ROOT, path, O_WRONLY | O_CREAT | O_EXCL, 0644, &f);
		if (r < 0)
			break;
		n = ff3fs_pwrite(f, buf, sizeof buf, 0);
		r = ff3fs_close(f);
		if (n < 0)
			r = (int)n;
		bench_latency(run, begin);
	}
	return r;
}

int bench_stat(struct bench_run *run)
{
	struct ff3fs_attr attr;
	char path[PATH_SIZE];
	int r = 0;

	for (uint64_t i = 0; r == 0 && !bench_time_is_up(run); i++, run->n_ops++) {
		uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC);

		file_path(run, i % share(run), path);
		r = ff3fs_stat(run->fs, FF3FS_ROOT, path, 0, &attr);
		if (r == 0 && attr.size != FILE_SIZE)
			r = -EBADMSG;
		bench_latency(run, begin);
	}
	return r;
}

int bench_open_read_close(struct bench_run *run)
{
	uint64_t buf[FILE_SIZE / 8];
	char path[PATH_SIZE];
	int r = 0;

	for (uint64_t i = 0; r == 0 && !bench_time_is_up(run); i++, run->n_ops++) {
		uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC), which = i % share(run);
		struct ff3fs_file *f;
		ssize_t n;

		file_path(run, which, path);
		r = ff3fs_open(run->fs, FF3FS_ROOT, path, O_RDONLY, 0, &f);
		if (r < 0)
			break;
		n = ff3fs_pread(f, buf, sizeof buf, 0);
		r = ff3fs_close(f);
		if (n < 0)
			r = (int)n;
		else if (n != FILE_SIZE || !ff3_pattern_check(buf, sizeof buf, which, 0))
			r = -EBADMSG;
		bench_latency(run, begin);
	}
	return r;
}

/* Counts entries. */
int bench_readdir(struct bench_run *run)
{
	char path[PATH_SIZE];
	int r = 0;

	dir_path(run, path);
	while (r == 0 && !bench_time_is_up(run)) {
		const struct ff3fs_dirent *e;
		struct ff3fs_dir *d;
		uint64_t n = 0;

		r = ff3fs_opendir(run->fs, FF3FS_ROOT, path, 0, &d);
		if (r < 0)
			break;
		while ((r = ff3fs_readdir(d, &e)) > 0)
			n++;
		ff3fs_closedir(d);
		/* "." and ".." come too. */
		if (r == 0 && n != share(run) + 2)
			r = -EBADMSG;
		run->n_ops += n;
	}
	return r;
}

int bench_unlink(struct bench_run *run)
{
	char path[PATH_SIZE];
	int r = 0;

	for (uint64_t i = 0; i < share(run) && r == 0; i++, run->n_ops++) {
		uint64_t begin = ff3_now_ns(CLOCK_MONOTONIC);

		file_path(run, i, path);
		r = ff3fs_unlink(run->fs, FF3FS_ROOT, path);
		bench_latency(run, begin);
	}
	if (r < 0)
		return r;
	dir_path(run, path);
	return ff3fs_rmdir(run->fs, FF3FS_ROOT, path);
}
