#include "hot-client.h"

void fail_at(const char *file, int line, const char *what, long long got, long long want)
{
	fflush(stdout); /* how far it was */
	fprintf(stderr, "%s:%d: %s: got %lld, want %lld (%s)\n", file, line, what, got, want,
		ff3fs_last_error());
	_exit(1);
}

struct ff3fs *new_client(void)
{
	struct ff3fs *c;

	OK(ff3fs_new(NULL, &c));
	ff3fs_memory_watched();
	return c;
}

struct ff3fs_file *must_open(struct ff3fs *c, const char *name, int flags)
{
	struct ff3fs_file *f;

	OK(ff3fs_open(c, FF3FS_ROOT, name, flags, 0600, &f));
	return f;
}
