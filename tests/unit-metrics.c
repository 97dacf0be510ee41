/* Histograms and the Prometheus text form. Where promtool is installed, its judgement too. */
#include "../common/admin/metrics.h"

#include <check.h>

START_TEST(buckets_are_ordered_and_tight)
{
	unsigned last = 0;

	for (uint64_t ns = 1; ns < 1ull << 40; ns += ns / 64 + 1) {
		unsigned b = ff3_histogram_bucket(ns);

		ck_assert_uint_lt(b, FF3_HISTOGRAM_BUCKETS);
		ck_assert_uint_ge(b, last);
		ck_assert_uint_le(b, last + 1);
		last = b;
	}
	ck_assert_uint_eq(last, FF3_HISTOGRAM_BUCKETS - 1);
	ck_assert_uint_eq(ff3_histogram_bucket(0), 0);
	ck_assert_uint_eq(ff3_histogram_bucket(1023), 0);
	ck_assert_uint_eq(ff3_histogram_bucket(1024), 1);
	ck_assert_uint_eq(ff3_histogram_bucket((1ull << 34) - 1), FF3_HISTOGRAM_BUCKETS - 2);
}
END_TEST

START_TEST(quantiles_lie_within_a_bucket)
{
	static struct ff3_histogram h;

	ck_assert_uint_eq(ff3_histogram_quantile_ns(&h, 0.5), 0);
	for (uint64_t us = 1; us <= 10000; us++)
		ff3_histogram_observe(&h, us * 1000);
	ck_assert_uint_eq(ff3_histogram_count(&h), 10000);
	for (double q = 0.01; q < 1; q += 0.01) {
		double want = q * 1e7, got = (double)ff3_histogram_quantile_ns(&h, q);

		ck_assert_msg(got > want * 0.79 && got < want * 1.26, "q %g: %g, not near %g", q, got,
			      want);
	}
}
END_TEST

START_TEST(merge_adds)
{
	static struct ff3_histogram a, b;

	ff3_histogram_observe(&a, 5000);
	ff3_histogram_observe_own(&b, 5000);
	ff3_histogram_observe_own(&b, 1ull << 40);
	ff3_histogram_merge(&a, &b);
	ck_assert_uint_eq(ff3_histogram_count(&a), 3);
	ck_assert_uint_eq(ff3_counter_get(&a.sum_ns), 10000 + (1ull << 40));
}
END_TEST

/* One page with every kind of sample, as a daemon would print it. */
static char *page(void)
{
	static struct ff3_histogram h;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	ff3_histogram_observe(&h, 500);
	ff3_histogram_observe(&h, 3000);
	ff3_histogram_observe(&h, 1ull << 40);
	ff3_metrics_process(out, "test");
	ff3_metrics_family(out, "ff3fs_test_requests_total", "counter", "Requests answered.");
	ff3_metrics_sample(out, "ff3fs_test_requests_total", "op=\"lookup\"", 3);
	ff3_metrics_sample(out, "ff3fs_test_requests_total", "op=\"open\"", 0);
	ff3_metrics_family(out, "ff3fs_test_load_ratio", "gauge", "Share of time spent working.");
	ff3_metrics_sample_double(out, "ff3fs_test_load_ratio", NULL, 0.25);
	ff3_metrics_family(out, "ff3fs_test_request_duration_seconds", "histogram",
			   "Time to answer.");
	ff3_metrics_histogram(out, "ff3fs_test_request_duration_seconds", "op=\"lookup\"", &h);
	fclose(out);
	return text;
}

static void has(const char *text, const char *line)
{
	ck_assert_msg(strstr(text, line) != NULL, "no line \"%s\" in:\n%s", line, text);
}

START_TEST(text_form)
{
	_cleanup_free_ char *text = page();

	has(text, "# TYPE ff3fs_test_requests_total counter\n");
	has(text, "ff3fs_test_requests_total{op=\"lookup\"} 3\n");
	has(text, "ff3fs_test_load_ratio 0.25\n");
	has(text, "_bucket{op=\"lookup\",le=\"1.024e-06\"} 1\n");
	has(text, "_bucket{op=\"lookup\",le=\"2.048e-06\"} 1\n");
	has(text, "_bucket{op=\"lookup\",le=\"4.096e-06\"} 2\n");
	has(text, "_bucket{op=\"lookup\",le=\"17.1798692\"} 2\n");
	has(text, "_bucket{op=\"lookup\",le=\"+Inf\"} 3\n");
	has(text, "_count{op=\"lookup\"} 3\n");
	has(text, "ff3fs_build_info{daemon=\"test\",version=\"" PACKAGE_VERSION "\"} 1\n");
	ck_assert_ptr_null(strstr(text, "process_resident_memory_bytes 0\n"));
	ck_assert_ptr_null(strstr(text, "process_open_fds 0\n"));
	ck_assert_ptr_null(strstr(text, "process_start_time_seconds 0\n"));
}
END_TEST

START_TEST(promtool_agrees)
{
	_cleanup_free_ char *text = page();
	FILE *p;

	if (system("command -v promtool >/dev/null 2>&1") != 0)
		return;
	p = popen("promtool check metrics >&2", "w");
	ck_assert_ptr_nonnull(p);
	fputs(text, p);
	ck_assert_int_eq(pclose(p), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("metrics");
	TCase *tc = tcase_create("metrics");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_test(tc, buckets_are_ordered_and_tight);
	tcase_add_test(tc, quantiles_lie_within_a_bucket);
	tcase_add_test(tc, merge_adds);
	tcase_add_test(tc, text_form);
	tcase_add_test(tc, promtool_agrees);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
