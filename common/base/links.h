/* What can carry a connection to a daemon, and lists of it, preferred first. */
#pragma once

#include "base.h"

enum ff3_link_kind { FF3_LINK_SHM, FF3_LINK_VERBS, FF3_LINK_TCP, FF3_LINK_UNIX, FF3_LINK_N };

extern const char *const ff3_link_names[FF3_LINK_N]; /* "shm", "verbs", "tcp", "unix" */

struct ff3_links {
	uint8_t n;
	uint8_t kind[FF3_LINK_N]; /* enum ff3_link_kind */
};

#define FF3_LINKS_ALL "shm verbs tcp unix" /* the default */

/* "shm tcp". -EINVAL: a word that is not known or comes twice, or none at all. */
int ff3_links_parse(const char *s, struct ff3_links *ret);

/* Why one was not taken, as far as daemons are told. */
enum ff3_link_reason {
	FF3_REASON_NOBODY,	/* nobody answers there */
	FF3_REASON_TIMEOUT,
	FF3_REASON_FORBIDDEN,
	FF3_REASON_UNSUPPORTED, /* one of the two sides has none */
	FF3_REASON_RESOURCES,	/* memory or descriptors are short */
	FF3_REASON_BROKEN,
	FF3_REASON_N
};
extern const char *const ff3_link_reasons[FF3_REASON_N]; /* "nobody", … */
enum ff3_link_reason ff3_link_reason(int r);

static inline bool ff3_links_have(const struct ff3_links *l, enum ff3_link_kind kind)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->kind[i] == kind)
			return true;
	return false;
}
