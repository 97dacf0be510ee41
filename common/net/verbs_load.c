/* Purpose: finding and loading the module for RDMA. It is a library of its own because it needs
 * rdma-core, which most machines have no use for: where it cannot be loaded, the other transports do.
 *
 * Where there is no device, it is not even looked for; a device may come later.
 *
 * Looked for beside the file that this code is in and where a build tree and an installation have it
 * below that, and in PKGLIBDIR. It stays loaded.
 *
 * Threads: any; loaded once. Fork: what is loaded is loaded in the child. Signals: none. */
#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "verbs.h"

#define NAME "libff3fs_verbs.so"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct ff3_verbs_api *api;
static char reason[FF3_VERBS_WHY];

static void *open_in(const char *dir, size_t len, const char *below)
{
	char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof path, "%.*s%s/" NAME, (int)len, dir, below) >= sizeof path ||
	    access(path, R_OK) < 0)
		return NULL;
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* Beside file, or in a folder there. */
static void *open_beside(const char *file)
{
	static const char *const below[] = { "", "/.libs", "/ff3fs" };
	const char *slash = strrchr(file, '/');
	void *module = NULL;

	for (size_t i = 0; slash && !module && i < ARRAY_SIZE(below); i++)
		module = open_in(file, (size_t)(slash - file), below[i]);
	return module;
}

static void load(void)
{
	char exe[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
	const char *text;
	void *module = NULL;
	Dl_info info;

	dlerror();
	/* In a library the library's file; in a program its name, which may be without a folder. */
	if (dladdr((void *)ff3_verbs, &info) && info.dli_fname)
		module = open_beside(info.dli_fname);
	exe[MAX(len, 0)] = '\0';
	if (!module)
		module = open_beside(exe);
	if (!module)
		module = open_in(PKGLIBDIR, strlen(PKGLIBDIR), "");
	if (module)
		api = dlsym(module, FF3_VERBS_SYMBOL);
	if (api && api->abi != FF3_VERBS_ABI) {
		api = NULL;
		snprintf(reason, sizeof reason, NAME " is of another version");
	} else if (!api) {
		text = dlerror();
		snprintf(reason, sizeof reason, "%s",
			 text ? text : NAME " is not installed (it needs rdma-core)");
	}
}

bool ff3_verbs_device(void)
{
	DIR *dir = opendir("/sys/class/infiniband");
	struct dirent *e;
	bool some = false;

	while (dir && !some && (e = readdir(dir)))
		some = e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return some;
}

const struct ff3_verbs_api *ff3_verbs(const char **ret_why)
{
	if (!api && !ff3_verbs_device()) {
		*ret_why = "this machine has no RDMA device";
		return NULL;
	}
	pthread_once(&once, load);
	*ret_why = reason;
	return api;
}
