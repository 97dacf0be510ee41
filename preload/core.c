/* Purpose: core.h. Loading happens at the first path under a prefix, not at process start, so that
 * /bin/true pays nothing for it.
 *
 * Where the library is looked for: $FF3FS_LIB; next to the shim itself (an installed pair, or a
 * build tree's .libs); the dynamic linker's places; LIBDIR.
 *
 * Threads: `lock` serializes loading; `client` is set once, after everything else. A thread that
 * meets a prefix path while it is itself loading (a configuration file below a prefix) gets
 * -EDEADLK. Fork: a child made during another thread's loading loads again. */
#include "core.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>

#include "dispatch.h"
#include "hook.h"
#include "raw.h"
#include "shared_map.h"

static const int never;
const volatile int *core_memory_watched = &never;
struct core_functions core;

static struct ff3fs *client;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool loading __attribute__((tls_model("initial-exec")));

/* Texts: the core's, that of its module for RDMA, and those of what the module calls, which closes what it opened. */
enum { TEXT_CORE, TEXT_MODULE, TEXT_LIBRARIES, N_TEXTS = TEXT_LIBRARIES + 2 };
static struct text {
	const char *name;
	_Atomic uintptr_t begin, size;
} texts[N_TEXTS] = {
	[TEXT_MODULE] = { .name = "/libff3fs_verbs.so" },
	[TEXT_LIBRARIES] = { .name = "/libibverbs.so" },
	{ .name = "/librdmacm.so" },
};

#define CORE_ROW(ret, name, params) { "ff3fs_" #name, offsetof(struct core_functions, name) },
static const struct {
	const char *name;
	size_t offset;
} rows[] = { CORE_FUNCTIONS(CORE_ROW) };

void core_after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
	loading = false;
}

static void note_text(struct text *t, uintptr_t begin, uintptr_t size)
{
	atomic_store_explicit(&t->begin, begin, memory_order_relaxed);
	atomic_store_explicit(&t->size, size, memory_order_release);
}

static int note_texts(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t inside = (uintptr_t)core.new;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		if (inside - begin < p->p_memsz)
			note_text(&texts[TEXT_CORE], begin, p->p_memsz);
		for (int t = TEXT_MODULE; t < N_TEXTS; t++)
			if (info->dlpi_name && strstr(info->dlpi_name, texts[t].name))
				note_text(&texts[t], begin, p->p_memsz);
	}
	return 0;
}

static bool is_within(const void *address, int n)
{
	for (int t = 0; t < n; t++)
		if (UNLIKELY((uintptr_t)address - atomic_load_explicit(&texts[t].begin, memory_order_relaxed) <
			     atomic_load_explicit(&texts[t].size, memory_order_acquire)))
			return true;
	return false;
}

bool core_called_from(const void *return_address)
{
	return is_within(return_address, TEXT_LIBRARIES);
}

bool core_closes_from(const void *return_address)
{
	return is_within(return_address, N_TEXTS);
}

void *core_open_module(const char *path, int mode)
{
	void *module = REAL(dlopen)(path, mode);

	if (module)
		dl_iterate_phdr(note_texts, NULL);
	return module;
}

/* NAME next to the file this code is in: is there one? */
static bool is_beside(const char *name, char path[PATH_MAX])
{
	Dl_info info;
	const char *slash;

	if (!dladdr((void *)core_fs, &info) || !info.dli_fname)
		return false;
	slash = strrchr(info.dli_fname, '/');
	return slash &&
	       (size_t)snprintf(path, PATH_MAX, "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname,
				name) < PATH_MAX &&
	       RAW(faccessat, AT_FDCWD, path, R_OK) == 0;
}

/* What the client library needs may lie there, too (containers), and is found by its name once it is loaded. A
 * RUNPATH of $ORIGIN would do the same, and have valgrind complain about the dynamic linker. */
static void open_needs(void)
{
	static const char *const names[] = { "libisal.so.2" };
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (is_beside(names[i], path))
			(void)REAL(dlopen)(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_library(void)
{
	static const char *const names[] = { "libff3fs.so.0", LIBDIR "/libff3fs.so.0" };
	const char *named = getenv("FF3FS_LIB");
	char path[PATH_MAX];
	void *library = NULL;

	/* These, so no other will do. */
	if (named && *named)
		return REAL(dlopen)(named, RTLD_NOW | RTLD_LOCAL);
	if (is_beside("libff3fs.so.0", path)) {
		open_needs();
		return REAL(dlopen)(path, RTLD_NOW | RTLD_LOCAL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names) && !library; i++)
		library = REAL(dlopen)(names[i], RTLD_NOW | RTLD_LOCAL);
	return library;
}

/* Everything below a prefix gets EIO, so once somebody must be told why. */
static int cannot(const char *what, const char *detail)
{
	static bool told;

	if (told)
		init_log(what, detail);
	else
		init_tell(what, detail);
	told = true;
	return -EIO;
}

static int load(struct ff3fs **ret)
{
	void *library = open_library();
	int r;

	if (!library)
		return cannot("cannot load the client library", dlerror());
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		void *f = dlsym(library, rows[i].name);

		if (!f)
			return cannot("the client library lacks a function", rows[i].name);
		*(void **)((char *)&core + rows[i].offset) = f;
	}
	if (core.api_version() != FF3FS_API_VERSION)
		return cannot("the client library has another version", "");
	dl_iterate_phdr(note_texts, NULL);
	r = core.new(NULL, ret);
	dispatch_core(&core);
	core_memory_watched = core.memory_watched();
	return r < 0 ? cannot("cannot start the client", core.conf_error()) : 0;
}

/* Programs count on getting the lowest free descriptor; what loading opens for good must not take
 * it. So the low ones are occupied meanwhile. */
#define N_LOW 64
#define N_SPARE 8

static int occupy_low(int fds[N_LOW])
{
	int n = 0, fd = (int)RAW(openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC);

	while (fd >= 0 && fd < N_LOW && n < N_LOW) {
		fds[n++] = fd;
		fd = (int)RAW(fcntl, fds[0], F_DUPFD_CLOEXEC, 0);
	}
	if (fd >= N_LOW)
		raw_close(fd);
	/* None is left: loading needs some itself, if only for a moment. */
	for (int spare = 0; fd < 0 && n > 0 && spare < N_SPARE; spare++)
		raw_close(fds[--n]);
	return n;
}

static int load_once(void)
{
	struct ff3fs *fs = NULL;
	int low[N_LOW], n_low, r;
	char before;

	loading = true;
	before = dispatch_enter();
	pthread_mutex_lock(&lock);
	if (__atomic_load_n(&client, __ATOMIC_ACQUIRE)) {
		r = 0;
	} else {
		n_low = occupy_low(low);
		r = load(&fs);
		while (n_low > 0)
			raw_close(low[--n_low]);
		if (r == 0)
			shared_map_start();
		if (r == 0)
			__atomic_store_n(&client, fs, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
	dispatch_leave(before);
	loading = false;
	if (fs && r == 0)
		cwd_core_loaded();
	return r;
}

struct ff3fs *core_loaded(void)
{
	return __atomic_load_n(&client, __ATOMIC_ACQUIRE);
}

int core_fs(struct ff3fs **ret)
{
	int saved = errno, r = 0;

	if (UNLIKELY(init_is_vfork_child()))
		return -EDEADLK;
	if (UNLIKELY(!core_loaded())) {
		r = loading ? -EDEADLK : load_once();
		errno = saved;
		if (r < 0)
			return r;
	}
	*ret = core_loaded();
	return 0;
}
