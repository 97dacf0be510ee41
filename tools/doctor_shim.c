/* Purpose: is there a shim, does the dynamic linker load it, and does a program that has it see files? That is
 * tried with this very program, started anew under it. */
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>

#include "doctor.h"
#include "program.h"
#include "where.h"

/* --- The child -------------------------------------------------------------------------------- */

static bool has_loaded(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];
	bool found = false;

	while (f && !found && fgets(line, sizeof line, f))
		found = strstr(line, name);
	if (f)
		fclose(f);
	return found;
}

int doctor_shim_child(int argc, char **argv)
{
	struct stat st;

	if (!has_loaded(SHIM_NAME))
		puts("not loaded");
	else if (argc > 1 && *argv[1] && stat(argv[1], &st) < 0)
		printf("stat %d\n", errno);
	else
		puts("seen");
	return cli_finish(CLI_OK);
}

/* --- The parent ------------------------------------------------------------------------------- */

/* Everything it says, on both descriptors, in out. */
static int run_child(const char *shim, const char *path, char *out, size_t size)
{
	_cleanup_free_ char *line = NULL;
	const char *directory_end = strrchr(shim, '/');
	size_t n;
	FILE *p;

	/* The build tree's libraries lie where only LD_LIBRARY_PATH finds them. */
	setenv("DOCTOR_SHIM", shim, 1);
	setenv("DOCTOR_PATH", path, 1);
	if (cli.conf)
		setenv("FF3FS_CONF", cli.conf, 1);
	if (asprintf(&line,
		     "LD_LIBRARY_PATH=\"%.*s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\" LD_PRELOAD=\"$DOCTOR_SHIM\" "
		     "FF3FS_CLIENT_TIMEOUT=10s exec /proc/%d/exe " DOCTOR_SHIM_CHILD " \"$DOCTOR_PATH\" 2>&1",
		     (int)(directory_end - shim), shim, (int)getpid()) < 0)
		return -ENOMEM;
	fflush(stdout);
	p = popen(line, "re");
	if (!p)
		return -errno;
	n = fread(out, 1, size - 1, p);
	out[n] = '\0';
	return pclose(p) == 0 ? 0 : -ECHILD;
}

/* The first line. */
static void cut(char *text)
{
	text[strcspn(text, "\n")] = '\0';
}

static const char *who_serves(const struct doctor_host *host)
{
	return host->notify ? "ff3fs run --notify serves those (for reading)" :
	       host->fuse   ? "ff3fs-mount serves those" :
			      NULL;
}

void doctor_shim(const struct doctor_host *host)
{
	const char *preload = getenv("LD_PRELOAD"), *serves = who_serves(host);
	_cleanup_free_ char *shim = NULL;
	char out[4096];
	int r;

	doctor_section("shim");
	if (where_library(SHIM_NAME, &shim) < 0) {
		doctor_say(DOCTOR_PROBLEM, SHIM_NAME, "install ff3fs: make install, or the package",
			   "not found beside this program, nor in " LIBDIR);
		return;
	}
	r = run_child(shim, "", out, sizeof out);
	if (r == 0 && strcmp(out, "seen\n") == 0) {
		doctor_say(DOCTOR_OK, "library", NULL, "%s can be preloaded", shim);
	} else {
		cut(out);
		doctor_say(DOCTOR_PROBLEM, "library",
			   "run ff3fs check /bin/ls; is it readable, of this machine, and not on a noexec mount?",
			   "%s is not loaded: %s", shim, *out ? out : strerror(-r));
	}
	if (preload && strstr(preload, SHIM_NAME))
		doctor_say(DOCTOR_OK, "LD_PRELOAD", NULL, "%s", preload);
	else
		doctor_say(DOCTOR_OK, "LD_PRELOAD", NULL,
			   "not set in this shell: start jobs by ff3fs run, or with LD_PRELOAD=%s", shim);
	if (getenv("FF3FS_DISABLE") && *getenv("FF3FS_DISABLE"))
		doctor_say(DOCTOR_PROBLEM, "FF3FS_DISABLE", "unset FF3FS_DISABLE",
			   "is set: the shim does nothing");
	doctor_say(serves ? DOCTOR_OK : DOCTOR_NOTE, "other programs",
		   serves ? NULL : "allow seccomp filters, or /dev/fuse for ff3fs-mount",
		   "static, Go and set-user-ID programs do not load it; %s",
		   serves ? serves : "nothing on this host serves them");
}

void doctor_shim_sees(const char *path)
{
	_cleanup_free_ char *shim = NULL;
	char out[4096];
	int r = where_library(SHIM_NAME, &shim);

	if (r < 0)
		return; /* said already */
	r = run_child(shim, path, out, sizeof out);
	cut(out);
	if (r == 0 && strcmp(out, "seen") == 0)
		doctor_say(DOCTOR_OK, "preloaded programs", NULL, "see %s", path);
	else
		doctor_say(DOCTOR_PROBLEM, "preloaded programs", "FF3FS_LOG=/dev/stderr before the program tells more",
			   "do not see %s: %s", path,
			   strncmp(out, "stat ", 5) == 0 ? strerror(atoi(out + 5)) : out);
}
