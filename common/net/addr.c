#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>

#include "addr.h"

/* Cuts address into host and port inside copy. */
static int split(char *copy, char **ret_host, char **ret_port)
{
	char *colon = strrchr(copy, ':'), *host = copy;

	if (!colon || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return -EINVAL;
	*colon = '\0';
	if (host[0] == '[') {
		if (colon - copy < 2 || colon[-1] != ']')
			return -EINVAL;
		colon[-1] = '\0';
		host++;
	} else if (strchr(host, ':')) {
		return -EINVAL;
	}
	if (strtoul(colon + 1, NULL, 10) > UINT16_MAX)
		return -EINVAL;
	*ret_host = host;
	*ret_port = colon + 1;
	return 0;
}

static int from_eai(int eai)
{
	switch (eai) {
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return -errno;
	default:
		return -EHOSTUNREACH;
	}
}

int ff3_addr_resolve(const char *address, int flags, struct addrinfo **ret)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = flags | AI_NUMERICSERV | AI_NUMERICHOST };
	_cleanup_free_ char *copy = strdup(address);
	char *host, *port;
	int r;

	if (!copy)
		return -ENOMEM;
	r = split(copy, &host, &port);
	if (r < 0)
		return r;
	if (host[0] == '\0')
		host = NULL;
	r = getaddrinfo(host, port, &hints, ret);
	if (r == EAI_NONAME && !(flags & AI_NUMERICHOST)) {
		hints.ai_flags &= ~AI_NUMERICHOST;
		r = getaddrinfo(host, port, &hints, ret);
	}
	return r == 0 ? 0 : from_eai(r);
}

void ff3_addr_print(const struct sockaddr *addr, socklen_t len, char *text)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (addr->sa_family == AF_UNIX)
		snprintf(text, FF3_ADDR_TEXT, "local");
	else if (getnameinfo(addr, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(text, FF3_ADDR_TEXT, "unknown");
	else
		snprintf(text, FF3_ADDR_TEXT, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

int ff3_addr_local(const char *dir, const char *address, struct sockaddr_un *ret)
{
	int n;

	memset(ret, 0, sizeof *ret);
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path, sizeof ret->sun_path, "%s/%s", dir, address);
	return n < 0 || (size_t)n >= sizeof ret->sun_path ? -ENAMETOOLONG : 0;
}

socklen_t ff3_addr_abstract(const struct sockaddr *addr, socklen_t len, struct sockaddr_un *ret)
{
	char text[FF3_ADDR_TEXT];
	int n;

	ff3_addr_print(addr, len, text);
	memset(ret, 0, sizeof *ret);
	ret->sun_family = AF_UNIX;
	n = snprintf(ret->sun_path + 1, sizeof ret->sun_path - 1, "ff3fs/%s", text);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   MIN((size_t)n, sizeof ret->sun_path - 2));
}

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	if (a->ss_family == AF_INET6)
		return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
			      &((const struct sockaddr_in6 *)b)->sin6_addr,
			      sizeof(struct in6_addr)) == 0;
	return false;
}

bool ff3_addr_tune_local(int fd)
{
	static const char plainest[] = "reno";
	struct sockaddr_storage ours, peers;
	socklen_t ours_len = sizeof ours, peers_len = sizeof peers;

	if (getsockname(fd, (struct sockaddr *)&ours, &ours_len) < 0 ||
	    getpeername(fd, (struct sockaddr *)&peers, &peers_len) < 0 || !same_host(&ours, &peers))
		return false;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, plainest, sizeof plainest - 1);
	return true;
}

bool ff3_addr_is_apart(int fd)
{
	socklen_t len = sizeof(int);
	int cpu = -1;

	return getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &len) == 0 && cpu >= 0 && cpu != sched_getcpu();
}
