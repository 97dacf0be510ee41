/* Purpose: finds programs and libraries relative to /proc/self/exe. No state. */
#include "where.h"

#include <limits.h>
#include <stdio.h>

/* The directory of this program, and whether it is a build tree's (then without the .libs). */
static int own_dir(char dir[PATH_MAX], bool *ret_build)
{
	ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);
	size_t len;

	if (n < 0)
		return -errno;
	dir[n] = '\0';
	*strrchr(dir, '/') = '\0';
	len = strlen(dir);
	*ret_build = len > 6 && strcmp(dir + len - 6, "/.libs") == 0;
	if (*ret_build)
		dir[len - 6] = '\0';
	return 0;
}

/* dir + "/" + middle + "/" + name, if that can be used as mode says. */
static int probe(const char *dir, const char *middle, const char *name, int mode, char **ret)
{
	char path[PATH_MAX], *real;

	if (snprintf(path, sizeof path, "%s/%s%s%s", dir, middle, *middle ? "/" : "", name) >=
	    (int)sizeof path)
		return -ENAMETOOLONG;
	if (access(path, mode) < 0)
		return -ENOENT;
	/* The name itself stays: a link to a versioned file is what users should see. */
	real = strstr(path, "/../") ? realpath(path, NULL) : strdup(path);
	if (!real)
		return -errno;
	*ret = real;
	return 0;
}

int where_program(const char *name, char **ret)
{
	static const char *const places[] = { "", "../sbin", "../bin" };
	char dir[PATH_MAX];
	bool build;
	int r = own_dir(dir, &build);

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(places); i++)
		if (probe(dir, places[i], name, X_OK, ret) >= 0)
			return 0;
	return r < 0 ? r : -ENOENT;
}

/* LIBDIR relative to BINDIR's parent: "lib/x86_64-linux-gnu" of an installation under /usr. */
static const char *relative_libdir(void)
{
	size_t n = strlen(BINDIR);

	while (n > 0 && BINDIR[n - 1] != '/')
		n--;
	return n > 0 && strncmp(BINDIR, LIBDIR, n) == 0 ? &LIBDIR[n] : NULL;
}

int where_library(const char *name, char **ret)
{
	const char *relative = relative_libdir();
	char dir[PATH_MAX], place[PATH_MAX];
	bool build;
	int r = own_dir(dir, &build);

	if (r < 0)
		return r;
	if (probe(dir, ".libs", name, R_OK, ret) >= 0)
		return 0;
	if (relative) {
		snprintf(place, sizeof place, "../%s", relative);
		if (probe(dir, place, name, R_OK, ret) >= 0)
			return 0;
	}
	return probe(LIBDIR, "", name, R_OK, ret);
}

int where_commands(char **ret)
{
	char dir[PATH_MAX];
	bool build;
	int r = own_dir(dir, &build);

	if (r < 0)
		return r;
	*ret = strdup(dir);
	return *ret ? 0 : -ENOMEM;
}
