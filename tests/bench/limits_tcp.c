/* Purpose: the bare TCP daemon: a forked process that reads 16 bytes {offset, length} and writes
 * length bytes, from memory, by pread of a cached file, or by sendfile; nothing else. Its client
 * keeps depth requests outstanding. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "limits.h"

struct request {
	uint64_t offset, length;
};

enum source { MEMORY, PREAD, SENDFILE };

static void write_all(int fd, const void *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0)
			limits_die("send");
		p = (const char *)p + n;
		len -= (size_t)n;
	}
}

static void serve(int fd, enum source source, const char *memory, int file)
{
	char *buf = aligned_alloc(4096, FF3_MIB(1));
	struct request r;

	while (recv(fd, &r, sizeof r, MSG_WAITALL) == sizeof r) {
		if (source == MEMORY) {
			write_all(fd, memory + r.offset, r.length);
		} else if (source == PREAD) {
			if (pread(file, buf, r.length, (off_t)r.offset) != (ssize_t)r.length)
				limits_die("pread");
			write_all(fd, buf, r.length);
		} else {
			off_t at = (off_t)r.offset, end = at + (off_t)r.length;

			while (at < end)
				if (sendfile(fd, file, &at, (size_t)(end - at)) <= 0)
					limits_die("sendfile");
		}
	}
	_exit(EXIT_SUCCESS);
}

/* A connected pair of TCP sockets on loopback. */
static void make_pair(int pair[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&a, &len) < 0)
		limits_die("listen");
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (pair[0] < 0 || connect(pair[0], (struct sockaddr *)&a, sizeof a) < 0)
		limits_die("connect");
	pair[1] = accept(listener, NULL, NULL);
	if (pair[1] < 0)
		limits_die("accept");
	for (int i = 0; i < 2; i++)
		setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	close(listener);
}

static uint64_t ask(int fd, size_t block, uint64_t *random)
{
	struct request r = { limits_random(random) % (options.size / block) * block, block };

	write_all(fd, &r, sizeof r);
	return r.offset;
}

static void measure(const char *name, enum source source, const char *memory, int file,
		    size_t block, unsigned depth)
{
	char *buf = aligned_alloc(4096, block);
	struct limits_latencies l = { malloc(LIMITS_LATENCIES * sizeof *l.ns), 0 };
	uint64_t random = 88172645463325252ull, n = 0, offsets[64], asked_ns = 0, now;
	struct limits_meter begin;
	unsigned asked = 0;
	int pair[2];
	pid_t pid;

	if (!limits_wanted(name) || !l.ns || !buf)
		return;
	make_pair(pair);
	begin = limits_start();
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		serve(pair[1], source, memory, file);
	}
	close(pair[1]);
	asked_ns = ff3_now_ns(CLOCK_MONOTONIC);
	while (asked < depth) {
		offsets[asked] = ask(pair[0], block, &random);
		asked++;
	}
	for (;; n++) {
		uint64_t offset = offsets[n % depth];

		if (recv(pair[0], buf, block, MSG_WAITALL) != (ssize_t)block)
			limits_die("recv");
		if (!ff3_pattern_check(buf, block, 1, offset))
			limits_die("wrong bytes");
		/* With one at a time this is the operation's own; ff3fs bench counts the same way. */
		now = ff3_now_ns(CLOCK_MONOTONIC);
		if (l.n < LIMITS_LATENCIES)
			l.ns[l.n++] = (uint32_t)(now - asked_ns);
		if (limits_time_is_up(begin))
			break;
		asked_ns = ff3_now_ns(CLOCK_MONOTONIC);
		offsets[n % depth] = ask(pair[0], block, &random);
	}
	shutdown(pair[0], SHUT_WR);
	while (recv(pair[0], buf, block, 0) > 0)
		;
	waitpid(pid, NULL, 0);
	limits_report(begin, name, block, depth, n + depth, depth == 1 ? &l : NULL);
	free(l.ns);
	close(pair[0]);
	free(buf);
}

void limits_tcp(void)
{
	static const size_t blocks[] = { FF3_KIB(4), FF3_KIB(64), FF3_MIB(1) };
	static const unsigned depths[] = { 1, 16 };
	char *memory;
	int file;

	if (!limits_wanted("tcp_memory") && !limits_wanted("tcp_pread") &&
	    !limits_wanted("tcp_sendfile"))
		return;
	file = limits_file(O_RDONLY);
	memory = mmap(NULL, options.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		limits_die("memory");
	ff3_pattern_fill(memory, options.size, 1, 0);
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		for (size_t k = 0; k < ARRAY_SIZE(depths); k++) {
			measure("tcp_memory", MEMORY, memory, -1, blocks[i], depths[k]);
			measure("tcp_pread", PREAD, NULL, file, blocks[i], depths[k]);
			measure("tcp_sendfile", SENDFILE, NULL, file, blocks[i], depths[k]);
		}
	munmap(memory, options.size);
	close(file);
}
