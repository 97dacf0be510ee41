/* For threads beside a test that forks: Check's own assertions have a mutex, with which a child would be born that was
 * forked meanwhile. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SURE(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #x, errno);  \
			abort();                                                                   \
		}                                                                                  \
	} while (0)
