/* Purpose: one HTTP GET of a daemon on loopback, so that ff3fs itself needs no HTTP library.
 * HTTP/1.0 and "Connection: close": the body ends where the connection ends. */
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "dev.h"

#define ANSWER_MAX FF3_MIB(16)

static int connect_to(const char *address, unsigned timeout_ms)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct timeval tv = { timeout_ms / 1000, (timeout_ms % 1000) * 1000 };
	struct addrinfo *list = NULL;
	const char *colon = strrchr(address, ':');
	_cleanup_close_ int fd = -1;
	char host[80];
	int r = 0;

	if (!colon || colon - address >= (ptrdiff_t)sizeof host)
		return -EINVAL;
	memcpy(host, address, (size_t)(colon - address));
	host[colon - address] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
		return -EINVAL;
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		r = -errno;
	else {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
		if (connect(fd, list->ai_addr, list->ai_addrlen) < 0)
			r = -errno;
	}
	freeaddrinfo(list);
	return r < 0 ? r : TAKE_FD(fd);
}

static int read_all(int fd, FILE *out)
{
	char buf[16384];
	size_t total = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof buf, 0)) > 0) {
		total += (size_t)n;
		if (total > ANSWER_MAX)
			return -EFBIG;
		fwrite(buf, 1, (size_t)n, out);
	}
	return n < 0 ? -errno : 0;
}

int dev_http_get(const char *address, const char *path, unsigned timeout_ms, char **ret_body)
{
	_cleanup_close_ int fd = connect_to(address, timeout_ms);
	_cleanup_free_ char *text = NULL;
	char request[512], *body;
	size_t len = 0;
	FILE *out;
	int n, r, status;

	if (fd < 0)
		return fd;
	n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
	if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		return -errno;
	out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	r = read_all(fd, out);
	if (fclose(out) != 0 && r >= 0)
		r = -ENOMEM;
	if (r < 0)
		return r;
	body = strstr(text, "\r\n\r\n");
	if (!body || sscanf(text, "HTTP/%*s %d", &status) != 1)
		return -EPROTO;
	if (ret_body && !(*ret_body = strdup(body + 4)))
		return -ENOMEM;
	return status;
}
