/* Purpose: finding and loading the module for RDMA. It is a library of its own because it needs
 * rdma-core, which most machines have no use for: where it cannot be loaded, the other transports do.
 *
 * Looked for beside the file that this code is in (a build tree), below it (an installation), and in
 * PKGLIBDIR. It stays loaded.
 *
 * Threads: any; loaded once. Fork: what is loaded is loaded in the child. Signals: none. */
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

static void load(void)
{
	const char *slash = NULL, *text;
	void *module = NULL;
	Dl_info info;

	dlerror();
	if (dladdr((void *)ff3_verbs, &info) && info.dli_fname)
		slash = strrchr(info.dli_fname, '/');
	if (slash) {
		size_t len = (size_t)(slash - info.dli_fname);

		module = open_in(info.dli_fname, len, "");
		if (!module)
			module = open_in(info.dli_fname, len, "/ff3fs");
	}
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

const struct ff3_verbs_api *ff3_verbs(const char **ret_why)
{
	pthread_once(&once, load);
	if (ret_why)
		*ret_why = reason;
	return api;
}
