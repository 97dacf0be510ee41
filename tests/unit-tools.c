/* What the commands print and compute without a cluster: sizes, names, exit codes, the progress
 * line, worker threads. */
#include <check.h>

#include "../common/base/err.h"
#include "../tools/cli.h"
#include "../tools/pool.h"
#include "../tools/progress.h"

START_TEST(sizes)
{
	static const struct {
		double bytes;
		const char *text;
	} rows[] = {
		{ 0, "0 B" },		    { 1023, "1023 B" },	     { 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },	    { 1048575, "1.0 MiB" },  { 1048576, "1.0 MiB" },
		{ 8.0 * (1 << 30), "8.0 GiB" }, { 0x1p64, "16.0 EiB" },
	};
	char buf[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_str_eq(cli_iec(buf, rows[i].bytes), rows[i].text);
	cli.bytes = true;
	ck_assert_str_eq(cli_size(buf, UINT64_MAX), "18446744073709551615");
	cli.bytes = false;
	ck_assert_str_eq(cli_size(buf, 2048), "2.0 KiB");
}
END_TEST

START_TEST(counts_and_durations)
{
	char buf[32];

	ck_assert_str_eq(cli_count(buf, 0), "0");
	ck_assert_str_eq(cli_count(buf, 999), "999");
	ck_assert_str_eq(cli_count(buf, 13394), "13,394");
	ck_assert_str_eq(cli_count(buf, UINT64_MAX), "18,446,744,073,709,551,615");
	ck_assert_str_eq(cli_duration(buf, 0), "0s");
	ck_assert_str_eq(cli_duration(buf, 185), "3m05s");
	ck_assert_str_eq(cli_duration(buf, 7800), "2h10m");
}
END_TEST

START_TEST(names)
{
	static const struct {
		const char *path, *name;
	} rows[] = { { "a", "a" },	{ "a/b", "b" }, { "/a/b//", "b" }, { "/", "" },
		     { "", "" },	{ "..", ".." }, { "a/.", "." } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_free_ char *name = cli_basename(rows[i].path);

		ck_assert_str_eq(name, rows[i].name);
	}
	for (int i = 0; i < 4; i++) {
		static const char *const joined[][3] = { { "", "b", "b" }, { "a", "b", "a/b" },
							 { "a/", "b", "a/b" }, { "a", "", "a" } };
		_cleanup_free_ char *path = cli_join(joined[i][0], joined[i][1]);

		ck_assert_str_eq(path, joined[i][2]);
	}
}
END_TEST

START_TEST(exit_codes)
{
	static const struct {
		int r, code;
	} rows[] = {
		{ 0, 0 },
		{ -ENOENT, 4 },
		{ -ETIMEDOUT, 5 },
		{ -ECONNREFUSED, 5 },
		{ FF3_E_OFFLINE, 5 },
		{ FF3_E_CHECKSUM, 6 },
		{ -EACCES, 7 },
		{ FF3_E_CREDENTIAL, 7 },
		{ -ENOSPC, 8 },
		{ -EDQUOT, 8 },
		{ -EIO, 1 },
		{ -EISDIR, 1 },
		{ FF3_E_VERSION, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ck_assert_msg(cli_exit_code(rows[i].r) == rows[i].code, "%d gives %d, not %d",
			      rows[i].r, cli_exit_code(rows[i].r), rows[i].code);
}
END_TEST

START_TEST(outcomes)
{
	struct cli_outcome o = { 0 };

	ck_assert_int_eq(cli_outcome_exit(&o), 0);
	cli_outcome_add(&o, CLI_NOT_FOUND);
	cli_outcome_add(&o, CLI_AUTH);
	ck_assert_int_eq(cli_outcome_exit(&o), CLI_NOT_FOUND);
	cli_outcome_add(&o, CLI_OK);
	ck_assert_int_eq(cli_outcome_exit(&o), CLI_PARTIAL);
}
END_TEST

START_TEST(progress_lines)
{
	struct progress_view v = { .label = "mini",	     .files = 4019,
				   .total_files = 13394,     .bytes = FF3_MIB(430),
				   .total_bytes = FF3_MIB(1433), .rate = 117.0 * (1 << 20) };
	char line[256];

	ck_assert_str_eq(progress_line(line, sizeof line, 100, &v),
			 "mini 4,019/13,394 files  430.0 MiB/1.4 GiB [=========>                   "
			 " ] 117.0 MiB/s  ETA 9s");
	v.scanning = true;
	ck_assert_ptr_nonnull(strstr(progress_line(line, sizeof line, 100, &v), "scanning"));
	ck_assert_ptr_null(strstr(line, "ETA"));
	v.scanning = false;
	v.total_files = 1;
	v.bytes = v.total_bytes;
	v.label = "a-name-that-is-much-too-long-for-the-line-and-is-cut-somewhere-in-the-middle";
	ck_assert_ptr_null(strstr(progress_line(line, sizeof line, 80, &v), "files"));
	ck_assert_ptr_nonnull(strstr(line, "1.4/1.4 GiB ["));
	for (unsigned columns = 1; columns < 200; columns++) {
		v.rate = columns % 2 ? 0 : 1e9;
		progress_line(line, sizeof line, columns, &v);
		ck_assert_uint_lt(strlen(line), columns);
	}
}
END_TEST

static _Atomic unsigned n_run;

static void count(void *job)
{
	n_run += (unsigned)(uintptr_t)job;
}

START_TEST(pools)
{
	struct pool *pool;

	ck_assert_int_eq(pool_new(4, 8, count, &pool), 0);
	for (unsigned i = 1; i <= 1000; i++)
		pool_add(pool, (void *)(uintptr_t)i);
	pool_drain(pool);
	ck_assert_uint_eq(n_run, 500500);
	pool_add(pool, (void *)(uintptr_t)1);
	pool_free(pool);
	ck_assert_uint_eq(n_run, 500501);
	pool_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tools");
	TCase *tc = tcase_create("tools");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_test(tc, sizes);
	tcase_add_test(tc, counts_and_durations);
	tcase_add_test(tc, names);
	tcase_add_test(tc, exit_codes);
	tcase_add_test(tc, outcomes);
	tcase_add_test(tc, progress_lines);
	tcase_add_test(tc, pools);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
