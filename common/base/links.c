#include "links.h"

const char *const ff3_link_names[FF3_LINK_N] = { "shm", "verbs", "tcp", "unix" };

int ff3_links_parse(const char *s, struct ff3_links *ret)
{
	struct ff3_links l = { .n = 0 };

	for (s += strspn(s, " ,"); *s; s += strspn(s, " ,")) {
		size_t len = strcspn(s, " ,");
		uint8_t kind = 0;

		while (kind < FF3_LINK_N && (strlen(ff3_link_names[kind]) != len ||
					     strncmp(ff3_link_names[kind], s, len) != 0))
			kind++;
		if (kind == FF3_LINK_N || ff3_links_have(&l, kind))
			return -EINVAL;
		l.kind[l.n++] = kind;
		s += len;
	}
	if (l.n == 0)
		return -EINVAL;
	*ret = l;
	return 0;
}

const char *const ff3_link_reasons[FF3_REASON_N] = {
	"nobody", "timeout", "forbidden", "unsupported", "resources", "broken",
};

enum ff3_link_reason ff3_link_reason(int r)
{
	switch (-r) {
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENOENT:
		return FF3_REASON_NOBODY;
	case ETIMEDOUT:
		return FF3_REASON_TIMEOUT;
	case EPERM:
	case EACCES:
		return FF3_REASON_FORBIDDEN;
	case ENODEV:
	case ENOSYS:
	case EOPNOTSUPP:
	case EPROTONOSUPPORT:
	case EAFNOSUPPORT:
		return FF3_REASON_UNSUPPORTED;
	case ENOMEM:
	case ENOSPC:
	case ENOBUFS:
	case EMFILE:
	case ENFILE:
		return FF3_REASON_RESOURCES;
	default:
		return FF3_REASON_BROKEN;
	}
}
