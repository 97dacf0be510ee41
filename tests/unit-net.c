/* The two sides of common/net against each other over loopback. Every case runs a real server
 * (net_daemon.c); the cases are in unit-net-*.c. FF3FS_TEST_RDMA: over verbs, at this device's address. */
#include <stdio.h>

#include "net_daemon.h"

/* The cases themselves, over one link: net_daemon.c reads the variable. */
static int run_over(const char *link)
{
	Suite *s = suite_create("net");
	SRunner *sr = srunner_create(s);
	int failed;

	setenv("FF3FS_CLIENT_TRANSPORTS", link, 1);
	suite_add_tcase(s, net_calls_case());
	suite_add_tcase(s, net_faults_case());
	suite_add_tcase(s, net_life_case());
	suite_add_tcase(s, net_stuck_case());
	/* Those speak of other links. */
	if (!net_over_verbs()) {
		suite_add_tcase(s, net_group_case());
		suite_add_tcase(s, net_links_case());
		suite_add_tcase(s, net_shm_case());
		suite_add_tcase(s, net_users_case());
	}
	printf("over %s:\n", link);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed;
}

int main(void)
{
	int failed = net_over_verbs() ? run_over("verbs") :
					run_over("tcp") + run_over("unix") + run_over("shm");

	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
