/* Purpose: what a thread's last call had to say: texts of errors, and where a path leads.
 *
 * They are no thread-local variables, and those of the library are few and small (THREAD_LOCAL): a library that is
 * loaded late has others only of the kind that malloc is called for when a thread touches them for the first time,
 * which may be in a signal handler that interrupted malloc.
 *
 * Threads: each has its own, mapped when there first is something to say and unmapped when it ends; without a key they
 * stay. Fork: a child's thread keeps them. Signals: ff3_enter keeps handlers out that interrupted one of us. */
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "internal.h"

struct texts {
	char explanation[512];
	char conf_error[512];
	char redirect[FF3_PATH_MAX + 1];
};

THREAD_LOCAL bool ff3_explained;
static THREAD_LOCAL struct texts *texts;
static pthread_key_t key;
static bool has_key;

static void unmap(void *p)
{
	texts = NULL;
	ff3_explained = false;
	munmap(p, sizeof *texts);
}

__attribute__((constructor)) static void begin(void)
{
	has_key = pthread_key_create(&key, unmap) == 0;
}

/* The library may be unloaded while threads live on. */
__attribute__((destructor)) static void end(void)
{
	if (has_key)
		pthread_key_delete(key);
	has_key = false;
}

static struct texts *of_this_thread(void)
{
	void *p;

	if (LIKELY(texts != NULL))
		return texts;
	p = mmap(NULL, sizeof *texts, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (has_key)
		pthread_setspecific(key, p);
	return texts = p;
}

void ff3_explain(const char *format, ...)
{
	struct texts *t = of_this_thread();
	va_list ap;

	if (!t)
		return;
	va_start(ap, format);
	vsnprintf(t->explanation, sizeof t->explanation, format, ap);
	va_end(ap);
	ff3_explained = true;
}

void ff3_explain_conf(const char *error)
{
	struct texts *t = of_this_thread();

	if (t)
		snprintf(t->conf_error, sizeof t->conf_error, "%s", error);
	if (error[0])
		ff3_explain("%s", error);
}

int ff3_set_redirect(struct ff3_str path)
{
	struct texts *t = of_this_thread();
	size_t len = MIN((size_t)path.len, sizeof t->redirect - 1);

	if (!t)
		return -ENOMEM;
	memcpy(t->redirect, path.p, len);
	t->redirect[len] = '\0';
	return 0;
}

EXPORT const char *ff3fs_redirect(void)
{
	return texts ? texts->redirect : "";
}

EXPORT const char *ff3fs_last_error(void)
{
	return ff3_explained ? texts->explanation : "";
}

EXPORT const char *ff3fs_conf_error(void)
{
	return texts ? texts->conf_error : "";
}
