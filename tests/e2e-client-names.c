/* e2e-client: names, attributes, directories. */
#include "e2e-client.h"

void test_names(void)
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

void test_attrs(void)
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
	/* A pin is inherited when a file is made, and can be set on the file. */
	EQ(l->pinned, 0);
	OK(ff3fs_set_pin(fs, FF3FS_ROOT, in_dir("d"), 1));
	OK(ff3fs_mkdir(fs, FF3FS_ROOT, in_dir("d/below"), 0755));
	OK(ff3fs_close(open_file(fs, in_dir("d/below/pinned"), O_CREAT | O_WRONLY)));
	OK(ff3fs_get_layout(fs, FF3FS_ROOT, in_dir("d/below/pinned"), l));
	EQ(l->pinned, 1);
	EQ(l->chunk_size, 65536);
	OK(ff3fs_get_layout(fs, FF3FS_ROOT, in_dir("d/f"), l));
	EQ(l->pinned, 0);
	OK(ff3fs_set_pin(fs, FF3FS_ROOT, in_dir("d/f"), 1));
	OK(ff3fs_get_layout(fs, FF3FS_ROOT, in_dir("d/f"), l));
	EQ(l->pinned, 1);
	EQ(l->chunk_size, 65536);
	EQ(ff3fs_set_layout(fs, FF3FS_ROOT, in_dir("d/f"), 65536, 2), -ENOTDIR);
	OK(ff3fs_set_pin(fs, FF3FS_ROOT, in_dir("d"), 0));
	OK(ff3fs_get_layout(fs, FF3FS_ROOT, in_dir("d"), l));
	EQ(l->pinned, 0);
	OK(ff3fs_statfs(fs, &st));
	CHECK(st.capacity > 0);
	EQ(st.used + st.free, (long long)st.capacity);
	free(l);
}

void test_directory(void)
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

/* What was gathered when the listing began, and was sent before its entry is looked at. */
void test_listing(void)
{
	struct ff3fs_file *f = open_file(fs, in_dir("f"), O_CREAT | O_WRONLY);
	struct ff3fs *other = client(); /* nobody sends for it */
	const struct ff3fs_dirent *e;
	struct ff3fs_attr a;
	struct ff3fs_dir *d;

	for (int len = 10; len <= 50; len += 10) {
		EQ(ff3fs_pwrite(f, "0123456789", 10, len - 10), 10);
		OK(ff3fs_opendir(fs, FF3FS_ROOT, dir, true, &d));
		do
			OK(ff3fs_stat(other, FF3FS_ROOT, in_dir("f"), 0, &a));
		while (a.size < (uint64_t)len);
		for (int i = 0; i < 3; i++)
			EQ(ff3fs_readdir(d, &e), 1);
		EQ(e->attr.ino, a.ino);
		EQ(e->attr.size, len);
		ff3fs_closedir(d);
	}
	ff3fs_free(other);
	OK(ff3fs_close(f));
}
