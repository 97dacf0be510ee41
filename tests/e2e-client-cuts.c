/* For crash-sizes.sh: what becomes of a file's size.
 *
 *   cuts PATH SEED STOP   writes at the end of a file, syncs, cuts it, until the file STOP exists; its size is what the
 *       last of them has made it, all the time
 *   asks STOP PATH…       asks for the sizes of files, so that who writes them is asked for what it has gathered */
#include "e2e-client.h"

#define MOST KIB(200)

static void size_is(struct ff3fs_file *f, size_t size, const char *after)
{
	char buf[100];
	struct ff3fs_attr a;

	OK(ff3fs_fstat(f, &a));
	if (a.size != size)
		fail_at(__FILE__, __LINE__, after, (long long)a.size, (long long)size);
	EQ(ff3fs_pread(f, buf, sizeof buf, (off_t)size), 0);
}

int cuts_main(int argc, char **argv)
{
	static char buf[6000];
	struct ff3fs_file *f;
	unsigned long rounds = 0;
	size_t size = 0;
	uint64_t s;

	if (argc != 4)
		return 2;
	fs = client();
	s = strtoull(argv[2], NULL, 0);
	f = open_file(fs, argv[1], O_CREAT | O_RDWR);
	for (; access(argv[3], F_OK) < 0; rounds++) {
		size_t len = random_u64(&s) % sizeof buf + 1;

		memset(buf, 'x', len);
		EQ(ff3fs_pwrite(f, buf, len, (off_t)size), (long long)len);
		size += len;
		if (random_u64(&s) % 3 > 0)
			OK(ff3fs_fsync(f));
		if (random_u64(&s) % 2 > 0)
			size_is(f, size, "after a write");
		if (random_u64(&s) % 3 == 0 && size < MOST)
			continue;
		size = size > MOST ? 0 : random_u64(&s) % size;
		OK(ff3fs_ftruncate(f, (off_t)size));
		size_is(f, size, "after a cut");
	}
	OK(ff3fs_close(f));
	ff3fs_free(fs);
	printf("%lu rounds\n", rounds);
	return 0;
}

int asks_main(int argc, char **argv)
{
	struct ff3fs_attr a;

	if (argc < 3)
		return 2;
	fs = client();
	while (access(argv[1], F_OK) < 0)
		for (int i = 2; i < argc; i++)
			OK(ff3fs_stat(fs, FF3FS_ROOT, argv[i], 0, &a));
	ff3fs_free(fs);
	return 0;
}
