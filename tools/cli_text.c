/* Purpose: paths, sizes and JSON as the commands print them. Pure functions. */
#include <sys/stat.h>

#include "cli.h"

#include "../common/admin/json_bytes.h"

char *cli_basename(const char *path)
{
	size_t end = strlen(path), begin;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	return strndup(path + begin, end - begin);
}

char *cli_join(const char *a, const char *b)
{
	size_t n = strlen(a);
	char *path = malloc(n + strlen(b) + 2);

	if (!path)
		return NULL;
	memcpy(path, a, n);
	if (n && a[n - 1] != '/' && *b)
		path[n++] = '/';
	strcpy(path + n, b);
	return path;
}

char *cli_iec(char buf[32], double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	size_t u = 0;

	/* 1023.95 would be printed as 1024.0. */
	while (u + 1 < ARRAY_SIZE(units) && bytes >= (u ? 1023.95 : 1023.5)) {
		bytes /= 1024;
		u++;
	}
	snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return buf;
}

char *cli_size(char buf[32], uint64_t bytes)
{
	if (!cli.bytes)
		return cli_iec(buf, (double)bytes);
	snprintf(buf, 32, "%" PRIu64, bytes);
	return buf;
}

char *cli_count(char buf[32], uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof digits, "%" PRIu64, n), out = 0;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			buf[out++] = ',';
		buf[out++] = digits[i];
	}
	buf[out] = '\0';
	return buf;
}

char *cli_duration(char buf[32], uint64_t seconds)
{
	if (seconds < 60)
		snprintf(buf, 32, "%us", (unsigned)seconds);
	else if (seconds < 3600)
		snprintf(buf, 32, "%um%02us", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
	else
		snprintf(buf, 32, "%" PRIu64 "h%02um", seconds / 3600,
			 (unsigned)(seconds % 3600 / 60));
	return buf;
}

const char *cli_type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	default:
		return "other";
	}
}

json_t *cli_json_name(const char *name)
{
	return ff3_json_bytes(name, strlen(name));
}

json_t *cli_json_time(struct timespec t)
{
	char text[64];
	struct tm tm;
	size_t n;

	if (!gmtime_r(&t.tv_sec, &tm))
		return json_null();
	n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof text - n, ".%09ldZ", t.tv_nsec);
	return json_string(text);
}

void cli_print_json(json_t *doc)
{
	if (doc) {
		json_dumpf(doc, stdout, JSON_COMPACT);
		putchar('\n');
	}
	json_decref(doc);
}
