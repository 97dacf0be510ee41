/* What ff3fs-put and ff3fs-get share: options, which files, outcome, interruption.
 *
 * Threads: the main thread walks the source and queues files; workers copy them. Options are
 * read-only then; counters are atomics. */
#pragma once

#include <signal.h>
#include <sys/stat.h>

#include "cli.h"
#include "pool.h"
#include "progress.h"

/* A whole file is tried this many times when a daemon goes away in the middle. */
#define TRANSFER_TRIES 3

struct transfer {
	struct ff3fs *fs;
	struct pool *pool;
	struct progress progress;

	unsigned jobs;
	bool recursive, resume, verify, no_progress, no_target_directory;

	_Atomic uint64_t files, bytes, directories, symlinks;
	_Atomic uint64_t unchanged; /* --continue found them done */
	_Atomic uint64_t skipped;   /* neither file, directory nor symbolic link; or changing */
	_Atomic uint64_t failed;
	_Atomic int first_failure;
};
extern struct transfer transfer;

/* Set by a signal: nothing new is begun, and what is under way is undone. */
extern volatile sig_atomic_t transfer_stop;

enum {
	TRANSFER_OPT_INCLUDE = 0x3000,
	TRANSFER_OPT_EXCLUDE,
	TRANSFER_OPT_CONTINUE,
	TRANSFER_OPT_NO_PROGRESS,
	TRANSFER_OPT_NO_VERIFY,
};

/* For a command's option table. */
#define TRANSFER_OPTIONS                                                                           \
	{ "continue", TRANSFER_OPT_CONTINUE, NULL, 0,                                              \
	  "skip files that are there with the same size and time", 1 },                            \
		{ "exclude", TRANSFER_OPT_EXCLUDE, "GLOB", 0, "skip what matches", 1 },            \
		{ "include", TRANSFER_OPT_INCLUDE, "GLOB", 0, "copy only files that match", 1 },   \
		{ "jobs", 'j', "N", 0, "copy up to N files at once (default: 16)", 1 },            \
		{ "no-progress", TRANSFER_OPT_NO_PROGRESS, NULL, 0, "no progress bar", 1 },        \
		{ "no-target-directory", 'T', NULL, 0, "DEST is the copy's name", 1 },             \
	{                                                                                          \
		"recursive", 'r', NULL, 0, "directories and what is in them", 1                    \
	}

int transfer_option(int key, char *arg, struct argp_state *state);

/* Whether --include and --exclude want this: path is relative to the source argument. */
bool transfer_wants(const char *path, bool directory);

/* Connects, catches signals, starts workers that run copy on each job, and the bar. */
void transfer_begin(void (*copy)(void *job), const char *label);
/* Waits for the workers. */
void transfer_drain(void);
/* Ends all, tells the outcome, and returns the command's exit code. */
int transfer_end(void);

/* A file to copy: from and to are local paths ("-": stdin or stdout) or lead from the file system's root. */
struct transfer_job {
	char *from, *to;
	struct stat st; /* of the source */
};

/* transfer_job.c */
/* Hands a file to the workers, who free the job. -ENOMEM. */
int transfer_queue(const char *from, const char *to, const struct stat *st);
void transfer_job_free(struct transfer_job *job);
/* A directory was made for one with st. When all files are done, finish is called with each, innermost first. */
void transfer_made_dir(const char *to, const struct stat *st);
void transfer_finish_dirs(void (*finish)(const char *to, const struct stat *st));

/* Counts a failure whose message was printed. */
void transfer_failed(int code);
/* Prints it, too. */
void transfer_remote_failed(const char *path, int r);
void transfer_local_failed(const char *path, int r);
/* Whether copying the file again may help after result r. */
bool transfer_may_retry(int r);

/* Makes a name for a temporary file in path's directory, such as "a/.ff3fs-put.0123456789abcdef".
 * To be freed. */
char *transfer_temporary(const char *path);
