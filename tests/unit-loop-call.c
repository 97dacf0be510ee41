/* A bounded call from another thread into a loop. */
#include "../common/admin/loop_call.h"

#include <check.h>
#include <pthread.h>

static struct ff3_loop *loop;
static pthread_t loop_thread;

static void *run_loop(void *arg)
{
	ff3_loop_run(loop);
	return NULL;
}

static void start(void)
{
	ck_assert_int_eq(ff3_loop_new(0, &loop), 0);
}

static void stop(void)
{
	ff3_loop_free(loop);
}

struct seen {
	pthread_t thread;
	unsigned n;
};

static void look(void *arg)
{
	struct seen *s = arg;

	s->thread = pthread_self();
	s->n++;
}

START_TEST(runs_on_the_loop)
{
	struct seen s = { 0 };

	ck_assert_int_eq(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
	for (unsigned i = 1; i <= 1000; i++) {
		ck_assert_int_eq(ff3_loop_call(loop, look, &s, 10000), 0);
		ck_assert_uint_eq(s.n, i);
	}
	ck_assert(pthread_equal(s.thread, loop_thread));
	ff3_loop_stop(loop);
	pthread_join(loop_thread, NULL);
}
END_TEST

/* What was given up is not called any more, also when the loop runs at last. */
START_TEST(gives_up_for_good)
{
	struct seen given_up = { 0 }, s = { 0 };

	ck_assert_int_eq(ff3_loop_call(loop, look, &given_up, 20), -ETIMEDOUT);
	ck_assert_int_eq(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
	ck_assert_int_eq(ff3_loop_call(loop, look, &s, 10000), 0);
	ck_assert_uint_eq(s.n, 1);
	ck_assert_uint_eq(given_up.n, 0);
	ff3_loop_stop(loop);
	pthread_join(loop_thread, NULL);
}
END_TEST

static void take_long(void *arg)
{
	const struct timespec pause = { 0, 50 * 1000 * 1000 };

	nanosleep(&pause, NULL);
	look(arg);
}

/* What has begun is waited for, whatever the limit. */
START_TEST(waits_for_what_has_begun)
{
	struct seen s = { 0 };
	int r;

	ck_assert_int_eq(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
	for (int i = 0; i < 5; i++) {
		unsigned before = s.n;

		r = ff3_loop_call(loop, take_long, &s, 20);
		ck_assert_uint_eq(s.n, before + (r == 0));
	}
	ck_assert_uint_gt(s.n, 0);
	ff3_loop_stop(loop);
	pthread_join(loop_thread, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop-call");
	TCase *tc = tcase_create("loop-call");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, start, stop);
	tcase_add_test(tc, runs_on_the_loop);
	tcase_add_test(tc, gives_up_for_good);
	tcase_add_test(tc, waits_for_what_has_begun);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
