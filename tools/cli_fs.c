/* Purpose: the part of the commands' frame that speaks to a cluster: opening it, its errors, and
 * the paths on it. Threads: messages may come from any; shown_prefix is written before any but the
 * first exists. */
#include "cli.h"

#include "../common/base/err.h"

static char shown_prefix[256];

const char *cli_shown(const char *path)
{
	static _Thread_local char buffers[2][4096 + 256];
	static _Thread_local unsigned turn;
	char *buf = buffers[turn++ % 2];

	if (*path == '/')
		return path;
	snprintf(buf, sizeof buffers[0], "%s%s%s", shown_prefix, *path ? "/" : "", path);
	return buf;
}

struct ff3fs *cli_connect(void)
{
	struct ff3fs *fs = NULL;
	int r = ff3fs_new(cli.conf, &fs);

	if (r >= 0) {
		const char *prefix = ff3fs_prefix(fs);

		/* No buffer of a tool's moves, or is made read-only. */
		ff3fs_memory_watched();
		snprintf(shown_prefix, sizeof shown_prefix, "%.*s", (int)strcspn(prefix, ":"),
			 prefix);
		return fs;
	}
	cli_message("%s", *ff3fs_conf_error() ? ff3fs_conf_error() : ff3fs_strerror(r));
	exit(cli_exit_code(r));
}

/* What to do about it, once per process and kind. */
static void hint(int code)
{
	static const char *const texts[] = {
		[CLI_UNAVAILABLE] = "is the cluster running (ff3fs-admin nodes)? its address is client.metad in ff3fs.conf "
				    "or FF3FS_CLIENT_METAD; a local one: ff3fs dev status",
		[CLI_INTEGRITY] = "the stored data are damaged; copy the file again from its source",
		[CLI_NO_SPACE] = "ff3fs df shows what is used",
	};
	static bool given[ARRAY_SIZE(texts)];

	if (code >= (int)ARRAY_SIZE(texts) || !texts[code] ||
	    __atomic_exchange_n(&given[code], true, __ATOMIC_RELAXED))
		return;
	cli_note("hint: %s", texts[code]);
}

int cli_error(const char *path, int r)
{
	return cli_error_why(path, r, ff3fs_last_error());
}

/* Applications get EIO for what only ff3fs knows; the library's words tell what it was. */
static int exit_code_why(int r, const char *why)
{
	static const int causes[] = { FF3_E_CHECKSUM, FF3_E_OFFLINE, FF3_E_NO_TARGET,
				      FF3_E_CHAIN_VERSION };

	for (size_t i = 0; r == -EIO && why && i < ARRAY_SIZE(causes); i++)
		if (strstr(why, ff3_strerror(causes[i])))
			return cli_exit_code(causes[i]);
	return cli_exit_code(r);
}

int cli_error_why(const char *path, int r, const char *why)
{
	int code = exit_code_why(r, why);

	cli_message("%s: %s", cli_shown(path), why && *why ? why : ff3fs_strerror(r));
	hint(code);
	return code;
}

/* --- Paths ------------------------------------------------------------------------------------ */

/* Whether path lies under the prefix p[0..n), and where the rest begins. */
static const char *under(const char *path, const char *p, size_t n)
{
	while (n > 0 && p[n - 1] == '/')
		n--;
	if (n == 0 || strncmp(path, p, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return NULL;
	return path + n;
}

static const char *after_prefix(const char *prefixes, const char *path)
{
	for (const char *p = prefixes; p && *p;) {
		size_t n = strcspn(p, ":");
		const char *rest = under(path, p, n);

		if (rest)
			return rest;
		p += n + (p[n] == ':');
	}
	return NULL;
}

bool cli_is_remote(const struct ff3fs *fs, const char *arg)
{
	return after_prefix(ff3fs_prefix(fs), arg) != NULL;
}

/* Drops empty and "." components, and slashes at both ends. */
static char *tidy(const char *path)
{
	char *out = malloc(strlen(path) + 1);
	size_t n = 0;

	if (!out)
		return NULL;
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len > 0 && !(len == 1 && *path == '.')) {
			if (n)
				out[n++] = '/';
			memcpy(out + n, path, len);
			n += len;
		}
		path += len + (path[len] == '/');
	}
	out[n] = '\0';
	return out;
}

char *cli_remote(const struct ff3fs *fs, const char *arg)
{
	const char *rest = after_prefix(ff3fs_prefix(fs), arg);
	char *path = tidy(rest ? rest : arg);

	if (!path) {
		cli_message("%s", strerror(ENOMEM));
		exit(CLI_FAILURE);
	}
	return path;
}
