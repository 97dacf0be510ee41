/* e2e-client: reading and writing by one process. */
#include "e2e-client.h"

void test_calls(void)
{
	struct ff3fs_file *f, *g;
	struct ff3fs_attr a;
	char buf[100];
	struct iovec iov[3] = { { buf, 3 }, { buf + 50, 0 }, { buf + 60, 7 } };
	off_t where = -1;

	EQ(ff3fs_open(fs, FF3FS_ROOT, in_dir("f"), O_RDWR, 0, &f), -ENOENT);
	f = open_file(fs, in_dir("f"), O_RDWR | O_CREAT | O_EXCL);
	EQ(ff3fs_open(fs, FF3FS_ROOT, in_dir("f"), O_RDWR | O_CREAT | O_EXCL, 0, &g), -EEXIST);
	EQ(ff3fs_open(fs, FF3FS_ROOT, in_dir("f"), O_DIRECTORY, 0, &g), -ENOTDIR);
	EQ(ff3fs_file_flags(f) & O_ACCMODE, O_RDWR);
	EQ(ff3fs_pread(f, buf, 10, 0), 0);
	EQ(ff3fs_pwrite(f, "hello, world", 12, 0), 12);
	/* Gathered, and yet seen by everything here. */
	OK(ff3fs_fstat(f, &a));
	EQ(a.size, 12);
	EQ(ff3fs_pread(f, buf, sizeof buf, 0), 12);
	CHECK(memcmp(buf, "hello, world", 12) == 0);
	EQ(ff3fs_pread(f, buf, sizeof buf, 7), 5);
	EQ(ff3fs_pread(f, buf, sizeof buf, 12), 0);
	EQ(ff3fs_pread(f, buf, sizeof buf, 1ll << 46), 0);
	EQ(ff3fs_pwrite(f, "!", 1, 12), 1);
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("f"), 0, &a));
	EQ(a.size, 13);
	EQ(ff3fs_pwrite(f, "?", 1, 13), 1);
	g = open_file(fs, in_dir("f"), O_RDONLY);
	EQ(ff3fs_pread(g, buf, sizeof buf, 0), 14);
	EQ(ff3fs_preadv(g, iov, 3, 0), 10);
	CHECK(memcmp(buf, "hel", 3) == 0 && memcmp(buf + 60, "lo, wor", 7) == 0);
	EQ(ff3fs_pwritev(f, iov, 3, 100), 10);
	EQ(ff3fs_pread(g, buf, 100, 10), 100);
	CHECK(memcmp(buf, "ld!?", 4) == 0 && buf[4] == 0 && memcmp(buf + 90, "hello, wor", 10) == 0);
	/* What must fail. */
	EQ(ff3fs_pwrite(g, "x", 1, 0), -EBADF);
	EQ(ff3fs_pread(f, buf, 1, -1), -EINVAL);
	EQ(ff3fs_pwrite(f, buf, 1, -1), -EINVAL);
	EQ(ff3fs_pwrite(f, buf, 1, 1ll << 47), -EFBIG);
	EQ(ff3fs_pread(f, buf, 0, 0), 0);
	EQ(ff3fs_pwrite(f, buf, 0, 1000), 0);
	EQ(ff3fs_ftruncate(f, -1), -EINVAL);
	EQ(ff3fs_ftruncate(g, 0), -EINVAL);
	OK(ff3fs_fstat(f, &a));
	EQ(a.size, 110);
	/* At the end. */
	iov[0] = (struct iovec){ (char *)"end", 3 };
	EQ(ff3fs_append(f, iov, 1, &where), 3);
	EQ(where, 110);
	ff3fs_file_set_flags(f, O_APPEND);
	CHECK(ff3fs_file_flags(f) & O_APPEND);
	EQ(ff3fs_pwrite(f, "end", 3, 0), 3);
	ff3fs_file_set_flags(f, 0);
	EQ(ff3fs_pread(f, buf, 10, 108), 8);
	OK(ff3fs_ftruncate(f, 5));
	EQ(ff3fs_pread(g, buf, 10, 0), 5);
	OK(ff3fs_ftruncate(f, 10));
	EQ(ff3fs_pread(g, buf, 20, 0), 10);
	CHECK(memcmp(buf, "hello\0\0\0\0\0", 10) == 0);
	OK(ff3fs_truncate(fs, FF3FS_ROOT, in_dir("f"), 3));
	EQ(ff3fs_pread(g, buf, 20, 0), 3);
	OK(ff3fs_fsync(f));
	OK(ff3fs_flush(f));
	OK(ff3fs_flush_all(fs));
	EQ(ff3fs_file_ino(f), ff3fs_file_ino(g));
	CHECK(ff3fs_file_ref(g) == g);
	OK(ff3fs_close(g));
	EQ(ff3fs_pread(g, buf, 20, 0), 3);
	OK(ff3fs_close(g));
	OK(ff3fs_close(f));
	f = open_file(fs, in_dir("f"), O_WRONLY | O_TRUNC);
	EQ(ff3fs_pread(f, buf, 1, 0), -EBADF);
	OK(ff3fs_fstat(f, &a));
	EQ(a.size, 0);
	OK(ff3fs_close(f));
	f = open_file(fs, dir, O_RDONLY | O_DIRECTORY);
	EQ(ff3fs_pread(f, buf, 1, 0), -EISDIR);
	OK(ff3fs_close(f));
	f = open_file(fs, dir, O_RDWR | O_TMPFILE);
	EQ(ff3fs_pwrite(f, "x", 1, 0), 1);
	EQ(ff3fs_pread(f, buf, 2, 0), 1);
	OK(ff3fs_close(f));
}

void test_fault(void)
{
	size_t len = MIB(3);
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	uint8_t *p = mmap(NULL, len + 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	fill(p, len, 0, 1);
	EQ(ff3fs_pwrite(f, p, len, 0), (long long)len);
	OK(mprotect(p + len, 8192, PROT_NONE));
	EQ(ff3fs_pread(f, NULL, 10, 0), -EFAULT);
	EQ(ff3fs_pread(f, (void *)-4096, 10, 0), -EFAULT);
	EQ(ff3fs_pwrite(f, NULL, 10, 0), -EFAULT);
	EQ(ff3fs_pwrite(f, p + len, 10, (off_t)len), -EFAULT);
	EQ(ff3fs_pwrite(f, p + len - 10, 20, (off_t)len), -EFAULT);
	EQ(ff3fs_pwrite(f, p + 4096, len, 0), -EFAULT);
	EQ(ff3fs_pread(f, p + len - 10, 20, 0), -EFAULT);
	EQ(ff3fs_pread(f, p + len, len, 0), -EFAULT);
	EQ(ff3fs_preadv(f, (struct iovec *)8, 2, 0), -EFAULT);
	OK(mprotect(p, len, PROT_READ));
	EQ(ff3fs_pread(f, p, len, 0), -EFAULT);
	OK(mprotect(p, len, PROT_READ | PROT_WRITE));
	/* The connections are fine. */
	EQ(ff3fs_pread(f, p, len, 0), (long long)len);
	OK(ff3fs_ftruncate(f, (off_t)len * 2));
	OK(mprotect(p, len, PROT_READ));
	EQ(ff3fs_pread(f, p, 100, (off_t)len + 100), -EFAULT); /* a hole */
	OK(mprotect(p, len, PROT_READ | PROT_WRITE));
	EQ(ff3fs_pread(f, p, 100, (off_t)len + 100), 100);
	OK(ff3fs_close(f));
	munmap(p, len + 8192);
}

/* Random operations on a file and on memory, through two descriptors and a second client. */
static void model(uint64_t seed)
{
	size_t size = 0, max = KIB(1500);
	uint8_t *want = calloc(1, max + KIB(300)), *got = malloc(max + KIB(300));
	struct ff3fs *other = client();
	struct ff3fs_file *files[3];
	struct ff3fs_attr a;
	char name[32];
	uint64_t s = seed * 77 + 5, sequential = 0;

	snprintf(name, sizeof name, "model%d", (int)seed);
	files[0] = open_file(fs, in_dir(name), O_CREAT | O_TRUNC | O_RDWR);
	files[1] = open_file(fs, in_dir(name), O_RDWR);
	files[2] = open_file(other, in_dir(name), O_RDWR);
	for (int i = 0; i < 600; i++) {
		unsigned what = (unsigned)(random_u64(&s) % 100);
		struct ff3fs_file *f = files[random_u64(&s) % 3];
		size_t len = random_u64(&s) % 8 == 0 ? random_u64(&s) % KIB(300) :
						       random_u64(&s) % 5000;
		uint64_t at = random_u64(&s) % max;

		if (what < 30) {
			fill(want + at, len, at, random_u64(&s));
			EQ(ff3fs_pwrite(f, want + at, len, (off_t)at), (long long)len);
			size = len && at + len > size ? at + len : size;
		} else if (what < 50) { /* small and in sequence */
			f = files[0];
			at = sequential < max ? sequential : 0;
			fill(want + at, len, at, random_u64(&s));
			EQ(ff3fs_pwrite(f, want + at, len, (off_t)at), (long long)len);
			size = len && at + len > size ? at + len : size;
			sequential = at + len;
		} else if (what < 90) {
			long long n = at >= size ? 0 : (long long)(at + len < size ? len : size - at);

			OK(ff3fs_flush(files[0]));
			OK(ff3fs_flush(files[2]));
			memset(got, 0xee, len + 1);
			EQ(ff3fs_pread(f, got, len, (off_t)at), n);
			CHECK(memcmp(got, want + at, (size_t)n) == 0);
		} else if (what < 94) {
			at = random_u64(&s) % (size + KIB(100) + 1);
			OK(ff3fs_flush(files[0]));
			OK(ff3fs_flush(files[2]));
			OK(ff3fs_ftruncate(f, (off_t)at));
			if (at < size)
				memset(want + at, 0, size - at);
			size = at;
		} else if (what < 97) {
			OK(ff3fs_fsync(f));
		} else {
			OK(ff3fs_flush(files[0]));
			OK(ff3fs_flush(files[2]));
			OK(ff3fs_fstat(f, &a));
			EQ(a.size, (long long)size);
		}
		/* The other client does not see what gathers here, and then writes around it. */
		if (f == files[2])
			OK(ff3fs_flush(f));
		else
			OK(ff3fs_flush(files[0]));
	}
	for (int i = 0; i < 3; i++) {
		EQ(ff3fs_pread(files[i], got, max + KIB(300), 0), (long long)size);
		CHECK(memcmp(got, want, size) == 0);
		OK(ff3fs_close(files[i]));
	}
	ff3fs_free(other);
	free(want);
	free(got);
}

void test_model(void)
{
	OK(ff3fs_set_layout(fs, FF3FS_ROOT, dir, 65536, 4));
	for (int round = 0; CHILDREN && round < 2; round++)
		forked(model, 4);
	model(100);
}

void test_sizes(void)
{
	static const size_t sizes[] = { 1, 4095, 4096, 65537, MIB(1) - 1, MIB(1), MIB(1) + 1, MIB(9) };
	uint8_t *buf = malloc(MIB(9)), *got = malloc(MIB(9) + 1);

	for (size_t i = 0; i < N_OF(sizes); i++) {
		struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_TRUNC | O_RDWR);

		fill(buf, sizes[i], 3, i);
		EQ(ff3fs_pwrite(f, buf, sizes[i], 3), (long long)sizes[i]);
		OK(ff3fs_close(f));
		f = open_file(fs, in_dir("f"), O_RDONLY);
		EQ(ff3fs_pread(f, got, MIB(9) + 1, 3), (long long)sizes[i]);
		EQ(differs(got, sizes[i], 3, i), -1);
		EQ(ff3fs_pread(f, got, 3, 0), 3);
		CHECK(memcmp(got, "\0\0\0", 3) == 0);
		OK(ff3fs_close(f));
	}
	free(buf);
	free(got);
}

void test_holes(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	uint8_t *buf = malloc(MIB(4));
	off_t far = (off_t)(1ll << 47) - 5;
	struct ff3fs_attr a;

	EQ(ff3fs_pwrite(f, "end", 3, far), 3);
	OK(ff3fs_fstat(f, &a));
	EQ((long long)a.size, far + 3);
	EQ(ff3fs_pread(f, buf, 10, far), 3);
	CHECK(memcmp(buf, "end", 3) == 0);
	memset(buf, 1, MIB(4));
	EQ(ff3fs_pread(f, buf, MIB(4), 1ll << 40), (long long)MIB(4));
	for (size_t i = 0; i < MIB(4); i++)
		CHECK(buf[i] == 0);
	EQ(ff3fs_pwrite(f, "x", 1, (1ll << 40) + 100), 1);
	memset(buf, 1, 300);
	EQ(ff3fs_pread(f, buf, 300, 1ll << 40), 300);
	CHECK(buf[99] == 0 && buf[100] == 'x' && buf[101] == 0);
	EQ(ff3fs_pwrite(f, "xxxxxx", 6, far), -EFBIG);
	OK(ff3fs_close(f));
	free(buf);
}
