/* Sends frames to a daemon that no client of ours would send, and says what came back.
 *
 *   send-frame HOST:PORT|SOCKET KIND
 *
 * KIND: version (a hello of another protocol version), build (one with other fields), magic (no frame at all), header-crc and
 * body-crc (damaged ones), huge-body (a length over the limit), short (half a header, then
 * nothing more), early (a request before the hello), cluster (a hello of another cluster),
 * unknown (an operation that does not exist, after a good hello), role:NUMBER[:TICKET] (a hello of somebody in that role),
 * random:SEED (4 KiB of noise).
 * Prints "status NUMBER" for a reply and "closed" when the daemon closed the connection. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../common/base/crc32c.h"
#include "../common/wire/wire.h"

static int address_of(const char *address, struct sockaddr_storage *ret)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in sin = { .sin_family = AF_INET };
	const char *colon = strrchr(address, ':');
	char host[64];

	if (address[0] == '/' && strlen(address) < sizeof un.sun_path) {
		memcpy(un.sun_path, address, strlen(address));
		memcpy(ret, &un, sizeof un);
		return sizeof un;
	}
	if (colon == NULL || (size_t)(colon - address) >= sizeof host)
		return -EINVAL;
	memcpy(host, address, (size_t)(colon - address));
	host[colon - address] = '\0';
	sin.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &sin.sin_addr) != 1)
		return -EINVAL;
	memcpy(ret, &sin, sizeof sin);
	return sizeof sin;
}

static int dial(const char *address)
{
	struct timeval limit = { .tv_sec = 10 };
	struct sockaddr_storage at = { 0 };
	int len = address_of(address, &at), fd;

	if (len < 0)
		return len;
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, (struct sockaddr *)&at, (socklen_t)len) < 0) {
		ff3_closep(&fd);
		return -errno;
	}
	return fd;
}

/* A whole frame in buf; its length. */
static size_t frame(uint8_t *buf, size_t size, uint16_t op, uint64_t cluster, uint32_t role, const char *ticket)
{
	struct ff3_req_hello hello = { .cluster = cluster,
				       .session = ff3_random_u64(),
				       .role = role,
				       .credential = { ticket, (uint32_t)strlen(ticket) } };
	struct ff3_header h = { .op = op, .request_id = 7 };

	if (op == FF3_OP_hello)
		h.body_len = (uint32_t)ff3_encode_req_hello(buf + FF3_HEADER_SIZE,
							    size - FF3_HEADER_SIZE, &hello);
	h.body_crc = ff3_crc32c(0, buf + FF3_HEADER_SIZE, h.body_len);
	ff3_header_encode(buf, &h);
	return FF3_HEADER_SIZE + h.body_len;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* One frame of the given kind; its length, 0 for an unknown kind. */
static size_t make(const char *kind, uint8_t *buf, size_t size)
{
	size_t len = frame(buf, size, FF3_OP_hello, 0, FF3_ROLE_CLIENT, "");

	if (strcmp(kind, "version") == 0) {
		buf[4]++;
		put_u32(buf + 36, ff3_crc32c(0, buf, 36));
	} else if (strcmp(kind, "build") == 0) {
		len--;
		put_u32(buf + 24, (uint32_t)(len - FF3_HEADER_SIZE));
		put_u32(buf + 32, ff3_crc32c(0, buf + FF3_HEADER_SIZE, len - FF3_HEADER_SIZE));
		put_u32(buf + 36, ff3_crc32c(0, buf, 36));
	} else if (strcmp(kind, "magic") == 0) {
		memcpy(buf, "GET / HTTP/1.1\r\n\r\n", 18);
	} else if (strcmp(kind, "header-crc") == 0) {
		buf[20] ^= 1;
	} else if (strcmp(kind, "body-crc") == 0) {
		buf[FF3_HEADER_SIZE + 9] ^= 1;
	} else if (strcmp(kind, "huge-body") == 0) {
		put_u32(buf + 24, FF3_BODY_MAX + 1);
		put_u32(buf + 36, ff3_crc32c(0, buf, 36));
	} else if (strcmp(kind, "short") == 0) {
		len = FF3_HEADER_SIZE / 2;
	} else if (strcmp(kind, "early") == 0) {
		len = frame(buf, size, FF3_OP_routes, 0, FF3_ROLE_CLIENT, "");
	} else if (strcmp(kind, "cluster") == 0) {
		len = frame(buf, size, FF3_OP_hello, 0x5ec0de, FF3_ROLE_CLIENT, "");
	} else if (strncmp(kind, "role:", 5) == 0) {
		const char *ticket = strchr(kind + 5, ':');

		len = frame(buf, size, FF3_OP_hello, 0, (uint32_t)atoi(kind + 5), ticket ? ticket + 1 : "");
	} else if (strncmp(kind, "random:", 7) == 0) {
		srandom((unsigned)atoi(kind + 7));
		for (size_t i = 0; i < size; i++)
			buf[i] = (uint8_t)random();
		len = size;
	} else if (strcmp(kind, "unknown") != 0) {
		len = 0;
	}
	return len;
}

/* Reads one reply and prints it; false when there was none. */
static bool reply(int fd)
{
	uint8_t buf[FF3_HEADER_SIZE], rest[4096];
	struct ff3_header h;
	size_t left;

	errno = 0; /* tells the end of the stream from a time-out */
	if (recv(fd, buf, sizeof buf, MSG_WAITALL) != (ssize_t)sizeof buf)
		return false;
	/* Of any version: only the status and the lengths are looked at. */
	h.status = (uint32_t)buf[12] | (uint32_t)buf[13] << 8;
	left = (size_t)buf[24] | (size_t)buf[25] << 8 | (size_t)buf[26] << 16;
	while (left > 0) {
		ssize_t n = recv(fd, rest, MIN(left, sizeof rest), 0);

		if (n <= 0)
			return false;
		left -= (size_t)n;
	}
	printf("status %" PRIu32 "\n", h.status);
	return true;
}

int main(int argc, char **argv)
{
	uint8_t buf[4096];
	_cleanup_close_ int fd = -1;
	size_t len;

	if (argc != 3)
		return 2;
	len = make(argv[2], buf, sizeof buf);
	if (len == 0)
		return 2;
	fd = dial(argv[1]);
	if (fd < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-fd));
		return 1;
	}
	if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		return 1;
	if (strcmp(argv[2], "short") == 0)
		shutdown(fd, SHUT_WR);
	if (strcmp(argv[2], "unknown") == 0) {
		if (!reply(fd))
			return 1;
		len = frame(buf, sizeof buf, FF3_OP_MAX - 1, 0, FF3_ROLE_CLIENT, "");
		if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
			return 1;
		return reply(fd) ? 0 : 1;
	}
	while (reply(fd))
		;
	/* A reset counts as closed: what we sent was thrown away unread. */
	if (errno == EAGAIN || errno == EWOULDBLOCK) {
		puts("still open after 10 s");
		return 1;
	}
	puts("closed");
	return 0;
}
