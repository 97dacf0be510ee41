/* The calls of ff3fs.h against real daemons. Run by e2e-client.sh, which starts them:
 *   e2e-client            every test, each in a directory of its own
 *   e2e-client NAME…      these
 *   e2e-client load …     see e2e-client-load.c */
#include "e2e-client.h"

struct ff3fs *fs;
char dir[64];

void fail_at(const char *file, int line, const char *what, long long got, long long want)
{
	fprintf(stderr, "%s:%d: %s: got %lld (%s), want %lld; %s\n", file, line, what, got,
		got < 0 && got > -5000 ? ff3fs_strerror((int)got) : "", want, ff3fs_last_error());
	abort();
}

const char *in_dir(const char *name)
{
	static __thread char paths[8][512];
	static __thread unsigned next;
	char *p = paths[next++ % 8];

	snprintf(p, 512, "%s/%s", dir, name);
	return p;
}

struct ff3fs *client(void)
{
	struct ff3fs *c;

	OK(ff3fs_new(NULL, &c));
	return c;
}

struct ff3fs_file *open_file(struct ff3fs *c, const char *path, int flags)
{
	struct ff3fs_file *f = NULL;

	OK(ff3fs_open(c, FF3FS_ROOT, path, flags, 0644, &f));
	return f;
}

uint64_t random_u64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static uint8_t byte_at(uint64_t offset, uint64_t who)
{
	uint64_t word = (offset >> 3) * 0x9e3779b97f4a7c15ull + who * 0xbf58476d1ce4e5b9ull;

	word ^= word >> 29;
	return (uint8_t)(word >> (8 * (offset & 7))) | 1; /* never zero, as holes are */
}

void fill(void *buf, size_t len, uint64_t offset, uint64_t who)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = byte_at(offset + i, who);
}

long long differs(const void *buf, size_t len, uint64_t offset, uint64_t who)
{
	for (size_t i = 0; i < len; i++)
		if (((const uint8_t *)buf)[i] != byte_at(offset + i, who))
			return (long long)(offset + i);
	return -1;
}

void forked(void (*fn)(uint64_t arg), int n)
{
	pid_t pids[64];

	for (int i = 0; i < n; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (pids[i] == 0) {
			fn((uint64_t)i);
			fflush(NULL);
			_exit(0);
		}
	}
	for (int i = 0; i < n; i++) {
		int status;

		EQ(waitpid(pids[i], &status, 0), pids[i]);
		EQ(status, 0);
	}
}

/* --- Names ----------------------------------------------------------------------------------- */

static void test_names(void)
{
	struct timespec times[2] = { { 1000000000, 5 }, { 1100000000, 999999999 } };
	struct ff3fs_attr a, b;
	char buf[4096], name[300];

	OK(ff3fs_mkdir(fs, FF3FS_ROOT, in_dir("d"), 0751));
	EQ(ff3fs_mkdir(fs, FF3FS_ROOT, in_dir("d"), 0751), -EEXIST);
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("d"), 0, &a));
	EQ(a.mode, S_IFDIR | 0751);
	OK(ff3fs_close(open_file(fs, in_dir("d/f"), O_CREAT | O_WRONLY)));
	OK(ff3fs_stat(fs, a.ino, "f", 0, &b));
	EQ(b.mode, S_IFREG | 0644);
	EQ(b.size, 0);
	EQ(b.nlink, 1);
	EQ(b.uid, geteuid());
	EQ(ff3fs_stat(fs, FF3FS_ROOT, in_dir("none"), 0, &a), -ENOENT);
	EQ(ff3fs_stat(fs, FF3FS_ROOT, in_dir("d/f/x"), 0, &a), -ENOTDIR);
	memset(name, 'n', 256);
	name[256] = '\0';
	EQ(ff3fs_stat(fs, FF3FS_ROOT, in_dir(name), 0, &a), -ENAMETOOLONG);
	OK(ff3fs_access(fs, FF3FS_ROOT, in_dir("d/f"), R_OK | W_OK, 0));
	OK(ff3fs_chmod(fs, FF3FS_ROOT, in_dir("d/f"), 04600, 0));
	OK(ff3fs_chown(fs, FF3FS_ROOT, in_dir("d/f"), (uid_t)-1, getegid(), 0));
	OK(ff3fs_chmod(fs, FF3FS_ROOT, in_dir("d/f"), 0600, 0));
	OK(ff3fs_utimens(fs, FF3FS_ROOT, in_dir("d/f"), times, 0));
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("d/f"), 0, &b));
	EQ(b.mode, S_IFREG | 0600);
	EQ(b.atime.tv_sec, 1000000000);
	EQ(b.mtime.tv_nsec, 999999999);
	OK(ff3fs_symlink(fs, "d/f", FF3FS_ROOT, in_dir("s")));
	EQ(ff3fs_readlink(fs, FF3FS_ROOT, in_dir("s"), buf, sizeof buf), 3);
	CHECK(memcmp(buf, "d/f", 3) == 0);
	EQ(ff3fs_readlink(fs, FF3FS_ROOT, in_dir("s"), buf, 2), 2);
	EQ(ff3fs_readlink(fs, FF3FS_ROOT, in_dir("d"), buf, 2), -EINVAL);
	EQ(ff3fs_readlink(fs, FF3FS_ROOT, in_dir("s"), (char *)16, 2), -EFAULT);
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("s"), 0, &a));
	EQ(a.ino, b.ino);
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("s"), FF3FS_NOFOLLOW, &a));
	CHECK(S_ISLNK(a.mode));
	OK(ff3fs_symlink(fs, "/elsewhere/x", FF3FS_ROOT, in_dir("out")));
	EQ(ff3fs_stat(fs, FF3FS_ROOT, in_dir("out/y"), 0, &a), -FF3FS_REDIRECT);
	CHECK(strcmp(ff3fs_redirect(), "/elsewhere/x/y") == 0);
	OK(ff3fs_link(fs, FF3FS_ROOT, in_dir("d/f"), FF3FS_ROOT, in_dir("hard"), 0));
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("hard"), 0, &a));
	EQ(a.ino, b.ino);
	EQ(a.nlink, 2);
	EQ(ff3fs_rename(fs, FF3FS_ROOT, in_dir("hard"), FF3FS_ROOT, in_dir("s"), RENAME_NOREPLACE),
	   -EEXIST);
	OK(ff3fs_rename(fs, FF3FS_ROOT, in_dir("hard"), FF3FS_ROOT, in_dir("s"), RENAME_EXCHANGE));
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("s"), FF3FS_NOFOLLOW, &a));
	EQ(a.ino, b.ino);
	OK(ff3fs_rename(fs, FF3FS_ROOT, in_dir("s"), FF3FS_ROOT, in_dir("d/g"), 0));
	OK(ff3fs_get_path(fs, a.ino, buf, sizeof buf));
	EQ(ff3fs_rmdir(fs, FF3FS_ROOT, in_dir("d")), -ENOTEMPTY);
	EQ(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("d")), -EISDIR);
	EQ(ff3fs_rmdir(fs, FF3FS_ROOT, in_dir("d/f")), -ENOTDIR);
	OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("d/f")));
	OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("d/g")));
	OK(ff3fs_stat(fs, FF3FS_ROOT, in_dir("d"), 0, &a));
	OK(ff3fs_get_path(fs, a.ino, buf, sizeof buf));
	CHECK(buf[0] == '/' && strcmp(buf + 1, in_dir("d")) == 0);
	EQ(ff3fs_get_path(fs, a.ino, buf, 3), -ERANGE);
	OK(ff3fs_rmdir(fs, FF3FS_ROOT, in_dir("d")));
}

static void test_attrs(void)
{
	struct ff3fs_layout *l = malloc(sizeof *l);
	struct ff3fs_statfs st;
	char buf[70000];

	OK(ff3fs_close(open_file(fs, in_dir("f"), O_CREAT | O_WRONLY)));
	OK(ff3fs_setxattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", "value", 5, 0, 0));
	EQ(ff3fs_setxattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", "v", 1, 1, 0), -EEXIST);
	EQ(ff3fs_getxattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", buf, sizeof buf, 0), 5);
	CHECK(memcmp(buf, "value", 5) == 0);
	EQ(ff3fs_getxattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", NULL, 0, 0), 5);
	EQ(ff3fs_getxattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", buf, 4, 0), -ERANGE);
	EQ(ff3fs_getxattr(fs, FF3FS_ROOT, in_dir("f"), "user.none", buf, 4, 0), -ENODATA);
	EQ(ff3fs_listxattr(fs, FF3FS_ROOT, in_dir("f"), buf, sizeof buf, 0), 7);
	CHECK(strcmp(buf, "user.a") == 0);
	memset(buf, 'x', sizeof buf);
	OK(ff3fs_setxattr(fs, FF3FS_ROOT, in_dir("f"), "user.big", buf, 60000, 0, 0));
	EQ(ff3fs_getxattr(fs, FF3FS_ROOT, in_dir("f"), "user.big", buf, sizeof buf, 0), 60000);
	OK(ff3fs_removexattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", 0));
	EQ(ff3fs_removexattr(fs, FF3FS_ROOT, in_dir("f"), "user.a", 0), -ENODATA);

	OK(ff3fs_mkdir(fs, FF3FS_ROOT, in_dir("d"), 0755));
	OK(ff3fs_set_layout(fs, FF3FS_ROOT, in_dir("d"), 65536, 2));
	OK(ff3fs_close(open_file(fs, in_dir("d/f"), O_CREAT | O_WRONLY)));
	OK(ff3fs_get_layout(fs, FF3FS_ROOT, in_dir("d/f"), l));
	EQ(l->chunk_size, 65536);
	EQ(l->n_stripe, 2);
	OK(ff3fs_get_layout(fs, FF3FS_ROOT, in_dir("d"), l));
	EQ(l->own, 1);
	EQ(ff3fs_set_layout(fs, FF3FS_ROOT, in_dir("d"), 65537, 2), -EINVAL);
	OK(ff3fs_statfs(fs, &st));
	CHECK(st.capacity > 0);
	EQ(st.used + st.free, (long long)st.capacity);
	free(l);
}

static void test_directory(void)
{
	const struct ff3fs_dirent *e;
	struct ff3fs_dir *d;
	uint64_t cookie = 0;
	static bool seen[3000];
	int n = 0, again = 0;

	for (int i = 0; i < 3000; i++) {
		char name[64];

		snprintf(name, sizeof name, "a-name-of-some-length-%d", i);
		OK(ff3fs_close(open_file(fs, in_dir(name), O_CREAT | O_WRONLY)));
	}
	OK(ff3fs_opendir(fs, FF3FS_ROOT, dir, true, &d));
	EQ(ff3fs_readdir(d, &e), 1);
	CHECK(strcmp(e->name, ".") == 0 && e->ino == ff3fs_dir_ino(d) && S_ISDIR(e->attr.mode));
	EQ(ff3fs_readdir(d, &e), 1);
	CHECK(strcmp(e->name, "..") == 0 && e->type == DT_DIR);
	while (ff3fs_readdir(d, &e) == 1) {
		int i = atoi(strrchr(e->name, '-') + 1);

		CHECK(!seen[i]);
		seen[i] = true;
		EQ(e->type, DT_REG);
		EQ(e->attr.ino, e->ino);
		EQ(e->attr.mode, S_IFREG | 0644);
		if (++n == 1500)
			cookie = e->cookie;
	}
	EQ(n, 3000);
	EQ(ff3fs_readdir(d, &e), 0);
	ff3fs_seekdir(d, cookie);
	while (ff3fs_readdir(d, &e) == 1)
		again++;
	EQ(again, 1500);
	ff3fs_seekdir(d, 0);
	for (again = 0; ff3fs_readdir(d, &e) == 1; again++)
		;
	EQ(again, 3002);
	/* Given up in the middle, with a page under way. */
	ff3fs_seekdir(d, 0);
	for (int i = 0; i < 10; i++)
		EQ(ff3fs_readdir(d, &e), 1);
	ff3fs_closedir(d);
	EQ(ff3fs_opendir(fs, FF3FS_ROOT, in_dir("a-name-of-some-length-1"), false, &d), -ENOTDIR);
	EQ(ff3fs_opendir(fs, FF3FS_ROOT, in_dir("none"), false, &d), -ENOENT);
}

/* --- Reading and writing --------------------------------------------------------------------- */

static void test_calls(void)
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

static void test_fault(void)
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

static void test_model(void)
{
	OK(ff3fs_set_layout(fs, FF3FS_ROOT, dir, 65536, 4));
	for (int round = 0; round < 2; round++)
		forked(model, 4);
	model(100);
}

static void test_sizes(void)
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

static void test_holes(void)
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

/* --- Several at once ------------------------------------------------------------------------- */

enum { N_RECORDS = 60 };
struct record {
	uint32_t who, number;
	uint8_t data[120];
};

static void append_records(uint64_t who)
{
	struct ff3fs_file *f = open_file(fs, in_dir("log"), O_WRONLY | O_APPEND);

	for (uint32_t i = 0; i < N_RECORDS; i++) {
		struct record r = { (uint32_t)who, i, { 0 } };

		fill(r.data, sizeof r.data, i, who);
		EQ(ff3fs_pwrite(f, &r, sizeof r, 0), (long long)sizeof r);
	}
	OK(ff3fs_close(f));
}

static void test_append(void)
{
	uint32_t next[8] = { 0 };
	struct ff3fs_file *f = open_file(fs, in_dir("log"), O_CREAT | O_RDONLY);
	struct record r;

	forked(append_records, 8);
	for (int i = 0; i < 8 * N_RECORDS; i++) {
		EQ(ff3fs_pread(f, &r, sizeof r, (off_t)(i * sizeof r)), (long long)sizeof r);
		CHECK(r.who < 8);
		EQ(r.number, next[r.who]++);
		EQ(differs(r.data, sizeof r.data, r.number, r.who), -1);
	}
	EQ(ff3fs_pread(f, &r, sizeof r, (off_t)(8 * N_RECORDS * sizeof r)), 0);
	OK(ff3fs_close(f));
}

static struct ff3fs_file *inherited;

static void use_inherited(uint64_t who)
{
	uint8_t buf[8192];

	for (int i = 0; i < 20; i++) {
		EQ(ff3fs_pread(inherited, buf, sizeof buf, 8192 * (i % 4)), (long long)sizeof buf);
		EQ(differs(buf, sizeof buf, 8192 * (uint64_t)(i % 4), 1), -1);
	}
	fill(buf, sizeof buf, who * 8192, 50 + who);
	EQ(ff3fs_pwrite(inherited, buf, sizeof buf, 100000 + (off_t)who * 8192), (long long)sizeof buf);
	/* Small and sequential: the child has no flusher yet. */
	for (int i = 0; i < 100; i++)
		EQ(ff3fs_pwrite(inherited, buf, 10, 1000000 + (off_t)who * 1000 + i * 10), 10);
	OK(ff3fs_close(inherited));
}

static void *write_on(void *arg)
{
	atomic_bool *stop = arg;
	struct ff3fs_file *f = open_file(fs, in_dir("busy"), O_CREAT | O_RDWR);
	uint8_t buf[1000] = { 1 };
	off_t at = 0;

	while (!*stop) {
		EQ(ff3fs_pwrite(f, buf, sizeof buf, at), (long long)sizeof buf);
		EQ(ff3fs_pread(f, buf, sizeof buf, at), (long long)sizeof buf);
		at += (off_t)sizeof buf;
	}
	OK(ff3fs_close(f));
	return NULL;
}

static void test_fork(void)
{
	uint8_t buf[32768];
	pthread_t thread;
	atomic_bool stop = false;

	inherited = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	fill(buf, sizeof buf, 0, 1);
	/* Gathered at the time of the fork. */
	for (int i = 0; i < 8; i++)
		EQ(ff3fs_pwrite(inherited, buf + i * 4096, 4096, i * 4096), 4096);
	pthread_create(&thread, NULL, write_on, &stop);
	for (int i = 0; i < 5; i++)
		forked(use_inherited, 6);
	stop = true;
	pthread_join(thread, NULL);
	for (uint64_t i = 0; i < 6; i++) {
		EQ(ff3fs_pread(inherited, buf, 8192, 100000 + (off_t)i * 8192), 8192);
		EQ(differs(buf, 8192, i * 8192, 50 + i), -1);
	}
	/* Unlinked while a child has it open; the child outlives our close. */
	OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("f")));
	forked(use_inherited, 2);
	EQ(ff3fs_pread(inherited, buf, sizeof buf, 0), (long long)sizeof buf);
	EQ(differs(buf, sizeof buf, 0, 1), -1);
	OK(ff3fs_close(inherited));
}

static void test_unlinked(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR), *g;
	uint8_t *buf = malloc(MIB(3));
	struct ff3fs_attr a;

	fill(buf, MIB(3), 0, 9);
	EQ(ff3fs_pwrite(f, buf, MIB(3), 0), (long long)MIB(3));
	OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("f")));
	EQ(ff3fs_stat(fs, FF3FS_ROOT, in_dir("f"), 0, &a), -ENOENT);
	OK(ff3fs_fstat(f, &a));
	EQ(a.nlink, 0);
	EQ(ff3fs_pread(f, buf, MIB(3), 0), (long long)MIB(3));
	EQ(differs(buf, MIB(3), 0, 9), -1);
	EQ(ff3fs_pwrite(f, buf, 100, (off_t)MIB(3)), 100);
	OK(ff3fs_fsync(f));
	OK(ff3fs_open_inode(fs, ff3fs_file_ino(f), O_RDONLY, &g));
	OK(ff3fs_close(f));
	EQ(ff3fs_pread(g, buf, MIB(3), 0), (long long)MIB(3));
	EQ(differs(buf, MIB(3), 0, 9), -1);
	OK(ff3fs_close(g));
	free(buf);
}

/* One process cuts and rewrites, one client reads: what is read was written, or is the end. */
static void test_cut(void)
{
	enum { ROUNDS = 60, LEN = 300000 };
	pid_t pid = fork();
	static uint8_t buf[LEN];

	CHECK(pid >= 0);
	if (pid == 0) {
		struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);

		for (uint64_t i = 1; i <= ROUNDS; i++) {
			fill(buf, LEN, 0, 7);
			EQ(ff3fs_pwrite(f, buf, LEN, 0), LEN);
			OK(ff3fs_ftruncate(f, (off_t)(i * 4099 % LEN)));
		}
		OK(ff3fs_unlink(fs, FF3FS_ROOT, in_dir("f")));
		OK(ff3fs_close(f));
		_exit(0);
	}
	int status;
	struct ff3fs_file *g = open_file(fs, in_dir("f"), O_CREAT | O_RDONLY);

	while (waitpid(pid, &status, WNOHANG) == 0) {
		ssize_t n = ff3fs_pread(g, buf, LEN, 0);

		CHECK(n >= 0);
		EQ(differs(buf, (size_t)n, 0, 7), -1);
	}
	EQ(status, 0);
	OK(ff3fs_close(g));
}

static void test_coherence(void)
{
	struct ff3fs *other = client();
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	struct ff3fs_file *g = open_file(other, in_dir("f"), O_RDWR);
	struct timespec before, now;
	char buf[16];

	/* A direct write is seen at once, by size and by bytes. */
	ff3fs_file_set_flags(f, O_DIRECT);
	for (int i = 0; i < 100; i++) {
		char c = (char)('a' + i % 26);

		EQ(ff3fs_pwrite(f, &c, 1, i), 1);
		EQ(ff3fs_pread(g, buf, 2, i), 1);
		EQ(buf[0], c);
	}
	/* Cut by one; the other, whose size is old, writes inside it. */
	OK(ff3fs_ftruncate(f, 0));
	EQ(ff3fs_pwrite(g, "z", 1, 49), 1);
	OK(ff3fs_flush(g));
	EQ(ff3fs_pread(f, buf, 2, 49), 1);
	EQ(ff3fs_pread(f, buf, 2, 48), 2);
	CHECK(buf[0] == 0 && buf[1] == 'z');
	/* What gathers arrives by itself. */
	ff3fs_file_set_flags(f, 0);
	EQ(ff3fs_pwrite(f, "q", 1, 50), 1);
	clock_gettime(CLOCK_MONOTONIC, &before);
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		CHECK((now.tv_sec - before.tv_sec) * 1000 + (now.tv_nsec - before.tv_nsec) / 1000000 <
		      1000);
	} while (ff3fs_pread(g, buf, 1, 50) != 1);
	EQ(buf[0], 'q');
	OK(ff3fs_close(f));
	OK(ff3fs_close(g));
	ff3fs_free(other);
}

static void test_read_ahead(void)
{
	enum { LEN = 5000000, STEP = 7001 };
	uint8_t *buf = malloc(LEN), small[STEP];
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR), *g;

	fill(buf, LEN, 0, 1);
	EQ(ff3fs_pwrite(f, buf, LEN, 0), LEN);
	g = open_file(fs, in_dir("f"), O_RDONLY);
	for (int round = 0; round < 3; round++) {
		off_t at = 0;
		ssize_t n;

		while ((n = ff3fs_pread(g, small, STEP, at)) > 0) {
			EQ(differs(small, (size_t)n, (uint64_t)at, 1), -1);
			at += n;
			/* A jump drops what was read ahead. */
			if (round == 1 && at % 5 == 0) {
				EQ(ff3fs_pread(g, small, 10, LEN - 10), 10);
				EQ(differs(small, 10, LEN - 10, 1), -1);
			}
		}
		EQ(n, 0);
		EQ(at, LEN);
	}
	/* An own write just before the next read is seen by it, through either descriptor. */
	for (off_t at = 0; at + STEP <= LEN; at += STEP) {
		if (at % 3 == 0) {
			fill(small, 100, (uint64_t)at, 2);
			EQ(ff3fs_pwrite(f, small, 100, at), 100);
		}
		EQ(ff3fs_pread(g, small, STEP, at), STEP);
		EQ(differs(small, 100, (uint64_t)at, at % 3 == 0 ? 2 : 1), -1);
		EQ(differs(small + 100, STEP - 100, (uint64_t)at + 100, 1), -1);
	}
	/* Cut while read. */
	for (off_t at = 0; at < LEN / 2; at += STEP)
		EQ(ff3fs_pread(g, small, STEP, at), STEP);
	OK(ff3fs_ftruncate(f, LEN / 2 + STEP));
	EQ(ff3fs_pread(g, small, STEP, LEN / 2 + STEP), 0);
	OK(ff3fs_close(f));
	OK(ff3fs_close(g));
	free(buf);
}

/* --- Batches and threads --------------------------------------------------------------------- */

static void test_batch(void)
{
	enum { FILES = 50, LEN = 200000, ROOM = 4000, SMALL = 4096 };
	struct ff3fs_completion *c = malloc(ROOM * sizeof *c);
	struct ff3fs_file *files[FILES];
	uint8_t *buf = malloc(FILES * LEN), *got = malloc((size_t)ROOM * SMALL);
	static uint64_t offsets[ROOM], which[ROOM];
	struct timespec none = { 0, 0 };
	struct ff3fs_batch *b;
	uint64_t s = 1;
	int n = 0;

	OK(ff3fs_batch_new(fs, ROOM, &b));
	for (int i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%d", i);
		files[i] = open_file(fs, in_dir(name), O_CREAT | O_RDWR);
		fill(buf + i * LEN, LEN, 0, (uint64_t)i);
		/* In two parts, the later first. */
		OK(ff3fs_batch_write(b, files[i], buf + i * LEN + LEN / 2, LEN / 2, LEN / 2, &files[i]));
		OK(ff3fs_batch_write(b, files[i], buf + i * LEN, LEN / 2, 0, &files[i]));
	}
	EQ(ff3fs_batch_submit(b), 2 * FILES);
	while (n < 2 * FILES) {
		int m = ff3fs_batch_reap(b, c, 1, 7, NULL);

		CHECK(m >= 1 && m <= 7);
		for (int i = 0; i < m; i++)
			EQ(c[i].result, LEN / 2);
		n += m;
	}
	EQ(ff3fs_batch_reap(b, c, 1, 1, NULL), 0);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ROOM; i++) {
			which[i] = random_u64(&s) % FILES;
			offsets[i] = random_u64(&s) % (LEN - 1);
			OK(ff3fs_batch_read(b, files[which[i]], got + i * SMALL, SMALL,
					    (off_t)offsets[i], &offsets[i]));
		}
		EQ(ff3fs_batch_read(b, files[0], got, 1, 0, NULL), -EAGAIN);
		EQ(ff3fs_batch_submit(b), ROOM);
		for (n = 0; n < ROOM;) {
			int m = ff3fs_batch_reap(b, c, 1, ROOM, round == 1 ? &none : NULL);

			for (int k = 0; k < m; k++) {
				size_t i = (size_t)((uint64_t *)c[k].user - offsets);
				uint64_t len = LEN - offsets[i] < SMALL ? LEN - offsets[i] : SMALL;

				EQ(c[k].result, (long long)len);
				EQ(differs(got + i * SMALL, len, offsets[i], which[i]), -1);
				memset(got + i * SMALL, 0, SMALL);
			}
			n += m;
		}
		EQ(n, ROOM);
	}
	/* Errors are results of their own operation. */
	OK(ff3fs_batch_read(b, files[0], NULL, 10, 0, NULL));
	OK(ff3fs_batch_read(b, files[0], got, 10, LEN + 10, NULL));
	OK(ff3fs_batch_write(b, files[0], NULL, 10, 0, NULL));
	OK(ff3fs_batch_read(b, files[0], got, 0, 0, NULL));
	EQ(ff3fs_batch_read(b, files[0], got, 1, -1, NULL), -EINVAL);
	EQ(ff3fs_batch_reap(b, c, 4, 10, NULL), 4);
	n = 0;
	for (int i = 0; i < 4; i++)
		n += c[i].result == -EFAULT;
	EQ(n, 2);
	/* Outstanding when it is freed. */
	for (size_t i = 0; i < 100; i++)
		OK(ff3fs_batch_read(b, files[1], got + i * SMALL, SMALL, 0, NULL));
	ff3fs_batch_submit(b);
	ff3fs_batch_free(b);
	for (int i = 0; i < FILES; i++)
		OK(ff3fs_close(files[i]));
	free(buf);
	free(got);
	free(c);
}

struct thread_arg {
	struct ff3fs_file *file;
	uint64_t who;
};

static void *thread_main(void *arg)
{
	struct thread_arg *t = arg;
	uint64_t s = t->who, base = t->who * 500000;
	uint8_t buf[20000];

	for (int i = 0; i < 150; i++) {
		uint64_t at = base + random_u64(&s) % 480000, len = random_u64(&s) % sizeof buf;

		fill(buf, len, at, t->who);
		EQ(ff3fs_pwrite(t->file, buf, len, (off_t)at), (long long)len);
		memset(buf, 0, sizeof buf);
		EQ(ff3fs_pread(t->file, buf, len, (off_t)at), (long long)len);
		EQ(differs(buf, len, at, t->who), -1);
		if (i % 40 == 0)
			OK(ff3fs_fsync(t->file));
	}
	return NULL;
}

static void test_threads(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	struct thread_arg args[8];
	pthread_t threads[8];

	for (uint64_t i = 0; i < 8; i++) {
		args[i] = (struct thread_arg){ f, i };
		OK(pthread_create(&threads[i], NULL, thread_main, &args[i]));
	}
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	OK(ff3fs_close(f));
}

static volatile sig_atomic_t n_busy, n_fine;

static void on_signal(int sig)
{
	struct ff3fs_attr a;
	int r = ff3fs_stat(fs, FF3FS_ROOT, "", 0, &a);

	(void)sig;
	if (r == -EDEADLK)
		n_busy++;
	else if (r == 0)
		n_fine++;
	else
		abort();
}

static void test_signals(void)
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_RDWR);
	struct sigaction sa = { .sa_handler = on_signal };
	uint8_t buf[10000];

	fill(buf, sizeof buf, 0, 1);
	EQ(ff3fs_pwrite(f, buf, sizeof buf, 0), (long long)sizeof buf);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; n_busy < 50; i++) {
		EQ(ff3fs_pread(f, buf, sizeof buf, 0), (long long)sizeof buf);
		EQ(differs(buf, sizeof buf, 0, 1), -1);
		CHECK(i < 1000000);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	OK(ff3fs_close(f));
}

/* --------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "names", test_names },	 { "attrs", test_attrs },	  { "directory", test_directory },
	{ "calls", test_calls },	 { "fault", test_fault },	  { "sizes", test_sizes },
	{ "holes", test_holes },	 { "model", test_model },	  { "append", test_append },
	{ "fork", test_fork },		 { "unlinked", test_unlinked },	  { "cut", test_cut },
	{ "coherence", test_coherence }, { "readahead", test_read_ahead }, { "batch", test_batch },
	{ "threads", test_threads },	 { "signals", test_signals },
};

static void run(size_t i)
{
	struct timespec begin, end;

	snprintf(dir, sizeof dir, "e2e.%d.%s", (int)getpid(), tests[i].name);
	OK(ff3fs_mkdir(fs, FF3FS_ROOT, dir, 0755));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	tests[i].fn();
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("ok: %s, %.0f ms\n", tests[i].name,
	       (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "load") == 0)
		return load_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "compare") == 0)
		return compare_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "speed") == 0)
		return speed_main(argc - 1, argv + 1);
	fs = client();
	EQ(ff3fs_api_version(), FF3FS_API_VERSION);
	CHECK(strlen(ff3fs_prefix(fs)) > 0);
	for (size_t i = 0; i < N_OF(tests); i++) {
		bool wanted = argc == 1;

		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], tests[i].name) == 0;
		if (wanted)
			run(i);
	}
	ff3fs_free(fs);
	return 0;
}
