/* Purpose: how much memory mappings may take: from the environment, else from what the machine and
 * the process's control group (either version) allow.
 * Threads: values are computed by whoever asks first; all get the same. */
#include <stdio.h>

#include "hook.h"
#include "map.h"
#include "raw.h"

/* "512M" in bytes; 0 if it is none. */
static size_t parse_size(const char *s)
{
	static const char units[] = "KMGT";
	char *end;
	double v;
	const char *unit;

	if (!s || !*s)
		return 0;
	v = strtod(s, &end);
	unit = *end ? strchr(units, *end & ~32) : NULL;
	if (end == s || (*end && !unit) || v <= 0)
		return 0;
	return (size_t)(v * (unit ? (double)(1ull << (10 * (unit - units + 1))) : 1));
}

static long read_text(const char *path, char *buf, size_t size)
{
	int fd = raw_open(path, O_RDONLY | O_CLOEXEC);
	long n;

	if (fd < 0)
		return fd;
	n = RAW(read, fd, buf, size - 1);
	raw_close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n;
}

/* The least limit of a group and those above it; "max" is none. */
static size_t least_limit(const char *root, char *group, const char *file, size_t least)
{
	char path[PATH_MAX], buf[64];

	for (;;) {
		char *slash;

		if ((size_t)snprintf(path, sizeof path, "%s%s/%s", root, group, file) < sizeof path &&
		    read_text(path, buf, sizeof buf) > 0 && buf[0] >= '0' && buf[0] <= '9')
			least = MIN(least, (size_t)strtoull(buf, NULL, 10));
		slash = strrchr(group, '/');
		if (!slash)
			return least;
		*slash = '\0';
	}
}

static size_t group_limit(size_t least)
{
	char buf[4096], *line, *next;

	if (read_text("/proc/self/cgroup", buf, sizeof buf) <= 0)
		return least;
	for (line = buf; line && *line; line = next) {
		char *group = strchr(line, '/');

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (!group)
			continue;
		if (strncmp(line, "0::", 3) == 0)
			least = least_limit("/sys/fs/cgroup", group, "memory.max", least);
		else if (strstr(line, ":memory:"))
			least = least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes",
					    least);
	}
	return least;
}

static size_t memory_limit(void)
{
	static _Atomic size_t known;

	if (!known)
		known = group_limit((size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE));
	return known;
}

size_t map_eager_max(void)
{
	static _Atomic size_t known;
	size_t given;

	if (!known) {
		given = parse_size(getenv("FF3FS_MMAP_EAGER_MAX"));
		known = MAX(given ? given : memory_limit() / 4, MAP_PAGE);
	}
	return known;
}

size_t map_eager_most(void)
{
	return parse_size(getenv("FF3FS_MMAP_EAGER_MAX")) ? map_eager_max() :
							   MAX(memory_limit() / 2, MAP_PAGE);
}

size_t map_memory(void)
{
	static _Atomic size_t known;
	size_t given;

	if (!known) {
		given = parse_size(getenv("FF3FS_MMAP_MEMORY"));
		known = MAX(given ? given : memory_limit() / 4, (size_t)1 << 20);
	}
	return known;
}
