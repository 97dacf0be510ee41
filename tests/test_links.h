/* For test programs that make their calls themselves: by what FF3FS_CLIENT_TRANSPORTS says, as clients do. */
#pragma once

#include <err.h>
#include <stdlib.h>

#include "../common/base/links.h"

static inline struct ff3_links test_links(void)
{
	const char *words = getenv("FF3FS_CLIENT_TRANSPORTS");
	struct ff3_links links = { 0 }; /* the default */

	if (words && ff3_links_parse(words, &links) < 0)
		errx(2, "FF3FS_CLIENT_TRANSPORTS=%s", words);
	return links;
}
