/* The two sides of common/net against each other over loopback. Every case runs a real server
 * (net_daemon.c); the cases are in unit-net-*.c. */
#include "net_daemon.h"

int main(void)
{
	Suite *s = suite_create("net");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, net_calls_case());
	suite_add_tcase(s, net_faults_case());
	suite_add_tcase(s, net_life_case());
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
