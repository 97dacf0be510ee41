#include "base.h"

#include <sys/random.h>

uint64_t ff3_random_u64(void)
{
	uint64_t v = 0;

	while (v == 0)
		if (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v)
			v = 0;
	return v;
}
