/* The inside of libff3fs that needs no daemon: memory of the application, cursors, pieces, block
 * checksums, the choice of what is retried. */
#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>

#include "../common/client/internal.h"

/* Three pages: readable, read-only, not accessible; behind them nothing. */
static uint8_t *pages(void)
{
	uint8_t *p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert(p != MAP_FAILED);
	ck_assert_int_eq(mprotect(p + 4096, 4096, PROT_READ), 0);
	ck_assert_int_eq(mprotect(p + 2 * 4096, 4096, PROT_NONE), 0);
	ck_assert_int_eq(munmap(p + 3 * 4096, 4096), 0);
	return p;
}

START_TEST(test_user_memory)
{
	uint8_t *p = pages();
	uint8_t big[1 << 18]; /* on a stack that has not grown so far */

	ck_assert_int_eq(ff3_user_readable(p, 8192), 0);
	ck_assert_int_eq(ff3_user_readable(p, 8193), -EFAULT);
	ck_assert_int_eq(ff3_user_readable(p + 8192, 1), -EFAULT);
	ck_assert_int_eq(ff3_user_readable(p + 3 * 4096, 1), -EFAULT);
	ck_assert_int_eq(ff3_user_readable(NULL, 1), -EFAULT);
	ck_assert_int_eq(ff3_user_readable((void *)-1, 1), -EFAULT);
	ck_assert_int_eq(ff3_user_readable((void *)-4096, 8192), -EFAULT);
	ck_assert_int_eq(ff3_user_readable(NULL, 0), 0);
	ck_assert_int_eq(ff3_user_writable(p, 4096), 0);
	ck_assert_int_eq(ff3_user_writable(p, 4097), -EFAULT);
	ck_assert_int_eq(ff3_user_writable(p + 4095, 1), 0);
	ck_assert_int_eq(ff3_user_writable(NULL, 1), -EFAULT);
	ck_assert_int_eq(ff3_user_writable((void *)-1, 8), -EFAULT);
	ck_assert_int_eq(ff3_user_writable(big, sizeof big), 0);
	p[0] = 7;
	ck_assert_int_eq(ff3_user_zero(p, 1), 0);
	ck_assert_int_eq(p[0], 0);
	ck_assert_int_eq(ff3_user_zero(p + 4096, 1), -EFAULT);
	munmap(p, 3 * 4096);
}
END_TEST

START_TEST(test_iov_len)
{
	struct iovec iov[3] = { { (void *)1, 10 }, { (void *)1, 0 }, { (void *)1, 5 } };

	ck_assert_int_eq(ff3_iov_len(iov, 3), 15);
	ck_assert_int_eq(ff3_iov_len(iov, 0), 0);
	ck_assert_int_eq(ff3_iov_len(iov, -1), -EINVAL);
	ck_assert_int_eq(ff3_iov_len(iov, IOV_MAX + 1), -EINVAL);
	ck_assert_int_eq(ff3_iov_len((struct iovec *)8, 3), -EFAULT);
	iov[1].iov_len = SSIZE_MAX;
	ck_assert_int_eq(ff3_iov_len(iov, 3), -EINVAL);
	ck_assert_int_eq(ff3_iov_len(iov + 1, 1), 0x7ffff000);
}
END_TEST

/* Every way to cut scattered memory takes the same bytes. */
START_TEST(test_cursor)
{
	uint8_t bytes[100], copy[100];
	struct iovec iov[5] = { { bytes, 0 },      { bytes, 30 }, { bytes + 30, 1 },
				{ bytes + 31, 0 }, { bytes + 31, 69 } };

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)i;
	for (size_t step = 1; step <= 101; step++) {
		struct ff3_cursor take = { iov, 5, 0 }, read = take;
		size_t done = 0;

		while (done < sizeof bytes) {
			struct iovec part[8];
			size_t want = MIN(step, sizeof bytes - done), n = 0;
			int n_part;

			memset(copy, 0xff, sizeof copy);
			ck_assert_int_eq(ff3_cursor_read(&read, copy, want), 0);
			ck_assert_mem_eq(copy, bytes + done, want);
			ck_assert_uint_eq(ff3_cursor_take(&take, want, part, 8, &n_part), want);
			for (int i = 0; i < n_part; i++) {
				ck_assert_ptr_eq(part[i].iov_base, bytes + done + n);
				n += part[i].iov_len;
			}
			ck_assert_uint_eq(n, want);
			done += want;
		}
		ck_assert_int_eq(ff3_cursor_read(&read, copy, 1), -EINVAL);
	}
	/* A limit of iovecs ends a piece early. */
	struct ff3_cursor c = { iov, 5, 0 };
	struct iovec one;
	int n;

	ck_assert_uint_eq(ff3_cursor_take(&c, 100, &one, 1, &n), 30);
	ck_assert_int_eq(n, 1);
	ck_assert_uint_eq(ff3_cursor_take(&c, 100, &one, 1, &n), 1);
	ck_assert_int_eq(ff3_cursor_zero(&c, 69), 0);
	for (size_t i = 31; i < 100; i++)
		ck_assert_int_eq(bytes[i], 0);
	ck_assert_int_eq(bytes[30], 30);
}
END_TEST

START_TEST(test_piece_span)
{
	struct ff3_inode small = { .chunk_shift = 16 }, large = { .chunk_shift = 24 };
	struct ff3_piece p;

	ck_assert_uint_eq(ff3_piece_span(&small, 0, 1), 1);
	ck_assert_uint_eq(ff3_piece_span(&small, 0, 1 << 20), 1 << 16);
	ck_assert_uint_eq(ff3_piece_span(&small, 65535, 100), 1);
	ck_assert_uint_eq(ff3_piece_span(&small, 65536, 100), 100);
	ck_assert_uint_eq(ff3_piece_span(&large, 0, 1ull << 40), PIECE_MAX);
	ck_assert_uint_eq(ff3_piece_span(&large, (1 << 24) - 5, 1ull << 40), 5);
	ff3_piece_init(&p, &small, FF3_OP_chunk_read, FF3_FILE_SIZE_MAX - 1, 1);
	ck_assert_uint_eq(p.index, (1u << 31) - 1);
	ck_assert_uint_eq(p.offset, 65535);
}
END_TEST

START_TEST(test_stripe)
{
	uint32_t chains[3] = { 7, 8, 9 };
	struct ff3_inode inode = { .n_stripe = 3, .seed = 5, .stripe = chains };
	uint8_t wire[12];
	struct ff3_enc e = ff3_enc_init(wire, sizeof wire);
	struct ff3_layout layout = { .chunk_size = 65536, .seed = 5, .stripe = { wire, 12 } };

	for (int i = 0; i < 3; i++)
		ff3_put_u32(&e, &chains[i]);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(ff3_inode_chain(&inode, i), ff3_layout_chain(&layout, i));
	/* No wrap of 32 bits between index and seed. */
	ck_assert_uint_eq(ff3_inode_chain(&inode, UINT32_MAX), chains[(UINT32_MAX + 5ull) % 3]);
}
END_TEST

START_TEST(test_block_crcs)
{
	static uint8_t data[PIECE_MAX];
	static uint32_t crcs[PIECE_CRCS];
	static const struct { uint32_t offset; size_t len, n; } cases[] = {
		{ 0, 0, 0 }, { 0, 1, 1 }, { 4095, 1, 1 }, { 4095, 2, 2 }, { 0, 4096, 1 },
		{ 100, 8192, 3 }, { 1, PIECE_MAX, PIECE_CRCS }, { 0, PIECE_MAX, PIECE_CRCS - 1 },
	};

	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 31 >> 3);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = cases[i].len, n = ff3_block_crcs(cases[i].offset, data, len, crcs);
		struct ff3_blob blob = { crcs, (uint32_t)(4 * n) };
		struct iovec whole = { data, len };
		struct iovec cut[3] = { { data, len / 3 }, { data + len / 3, len / 3 },
					{ data + len / 3 * 2, len - len / 3 * 2 } };

		ck_assert_uint_eq(n, cases[i].n);
		ck_assert(ff3_block_crcs_match(cases[i].offset, &whole, 1, len, blob));
		ck_assert(ff3_block_crcs_match(cases[i].offset, cut, 3, len, blob));
		if (len == 0)
			continue;
		blob.len -= 4;
		ck_assert(!ff3_block_crcs_match(cases[i].offset, &whole, 1, len, blob));
		blob.len += 4;
		data[len - 1] ^= 1;
		ck_assert(!ff3_block_crcs_match(cases[i].offset, &whole, 1, len, blob));
		data[len - 1] ^= 1;
	}
}
END_TEST

START_TEST(test_retriable)
{
	ck_assert(ff3_retriable(-ECONNREFUSED));
	ck_assert(ff3_retriable(-ECONNRESET));
	ck_assert(ff3_retriable(-EPIPE));
	ck_assert(ff3_retriable(FF3_E_NO_TARGET));
	ck_assert(ff3_retriable(FF3_E_CHAIN_VERSION));
	ck_assert(!ff3_retriable(-ENOENT));
	ck_assert(!ff3_retriable(-EFAULT));
	ck_assert(!ff3_retriable(-ENOSPC));
	ck_assert(!ff3_retriable(FF3_E_CHECKSUM));
	ck_assert(!ff3_retriable(FF3_E_INSTANCE));
	ck_assert(!ff3_retriable(FF3_E_VERSION));
	ck_assert(!ff3_retriable(FF3_E_REDIRECT));
	ck_assert(!ff3_retriable(0));
}
END_TEST

START_TEST(test_public_errors)
{
	ck_assert_int_eq(ff3_public(-ENOENT), -ENOENT);
	ck_assert_int_eq(ff3_public(FF3_E_REDIRECT), -FF3FS_REDIRECT);
	ck_assert_int_eq(ff3_public(FF3_E_CHECKSUM), -EIO);
	ck_assert_str_ne(ff3fs_last_error(), "");
}
END_TEST

/* A call out of a signal handler that interrupted a call. */
START_TEST(test_reentry)
{
	struct ff3fs *fs;
	int entered = ff3_enter();

	ck_assert_int_eq(entered, 0);
	ck_assert_int_eq(ff3fs_new(NULL, &fs), -EDEADLK);
	ff3_leave(&entered);
	ck_assert(!ff3_inside());
}
END_TEST

START_TEST(test_configuration)
{
	struct ff3fs *fs = NULL;

	setenv("FF3FS_CONF", "/dev/null", 1);
	setenv("FF3FS_CLIENT_TIMEOUT", "soon", 1);
	ck_assert_int_eq(ff3fs_new(NULL, &fs), -EINVAL);
	ck_assert_ptr_nonnull(strstr(ff3fs_conf_error(), "TIMEOUT"));
	ck_assert_ptr_null(fs);
	setenv("FF3FS_CLIENT_TIMEOUT", "300ms", 1);
	ck_assert_int_eq(ff3fs_new("/nonexistent.conf", &fs), -ENOENT);
	ck_assert_ptr_nonnull(strstr(ff3fs_conf_error(), "/nonexistent.conf"));
	setenv("FF3FS_CLIENT_METAD", "no-port", 1);
	ck_assert_int_eq(ff3fs_new(NULL, &fs), -EINVAL);
	ck_assert_ptr_nonnull(strstr(ff3fs_conf_error(), "no-port"));
	/* Nobody there: an error after the time-out, with a reason, and not at once. */
	setenv("FF3FS_CLIENT_METAD", "127.0.0.1:1", 1);
	ck_assert_int_eq(ff3fs_new(NULL, &fs), 0);
	struct ff3fs_attr attr;
	uint64_t begin = ff3_boottime_ns();

	ck_assert_int_eq(ff3fs_stat(fs, FF3FS_ROOT, "x", 0, &attr), -ECONNREFUSED);
	ck_assert_uint_ge(ff3_boottime_ns() - begin, 300 * FF3_NSEC_PER_MSEC);
	ck_assert_ptr_nonnull(strstr(ff3fs_last_error(), "127.0.0.1:1"));
	ff3fs_free(fs);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client");
	TCase *t = tcase_create("inside");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_test(t, test_user_memory);
	tcase_add_test(t, test_iov_len);
	tcase_add_test(t, test_cursor);
	tcase_add_test(t, test_piece_span);
	tcase_add_test(t, test_stripe);
	tcase_add_test(t, test_block_crcs);
	tcase_add_test(t, test_retriable);
	tcase_add_test(t, test_public_errors);
	tcase_add_test(t, test_reentry);
	tcase_add_test(t, test_configuration);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
