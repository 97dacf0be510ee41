/* What the programs that call one thing after another in a directory begin with: names in it, what a call
 * gave, what must hold. Printed lines are the same on any file system. */
#pragma once

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *dir;

/* A path below dir; it stays for seven more calls. */
static inline const char *at(const char *name)
{
	static char buf[8][PATH_MAX];
	static int k;
	char *p = buf[k++ % 8];

	snprintf(p, PATH_MAX, "%s/%s", dir, name);
	return p;
}

/* What is done again and again, less often in an emulated machine (functions.sh). */
static inline int fewer(int times)
{
	const char *slower = getenv("FF3FS_TEST_SLOWER");

	return slower ? times / atoi(slower) : times;
}

/* What a call gave: its value, or its error. */
#define SHOW(call)                                                                                 \
	do {                                                                                       \
		errno = 0;                                                                         \
		long _r = (long)(call);                                                            \
		printf("%s = %ld%s%s\n", #call, _r, _r == -1 ? " " : "",                           \
		       _r == -1 ? strerrorname_np(errno) : "");                                    \
	} while (0)

/* Ends at once: other threads may be at work, and a forked child must not run its parent's handlers. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("line %d: not so: %s (errno %s)\n", __LINE__, #condition,           \
			       strerrorname_np(errno));                                            \
			fflush(stdout);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)
