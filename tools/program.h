/* What a program file is, as far as it decides whether the shim can serve it. */
#pragma once

#include <limits.h>

#include "../common/base/base.h"

enum {
	PROGRAM_STATIC = 1,	 /* no dynamic linker, so no LD_PRELOAD */
	PROGRAM_GO = 2,		 /* makes its system calls itself */
	PROGRAM_SETID = 4,	 /* set-user-ID, set-group-ID or capabilities: LD_PRELOAD is dropped */
	PROGRAM_OTHER_LIBC = 8,	 /* its dynamic linker is not glibc's */
	PROGRAM_OTHER_ARCH = 16, /* the shim is for another machine */
	PROGRAM_RUNPATH = 32,	 /* looks for libraries below a prefix, where the linker sees none */
	PROGRAM_UNCOVERED = 64,	 /* imports file functions that the shim has not; works otherwise */
};
#define PROGRAM_NOT_SERVED                                                                         \
	(PROGRAM_STATIC | PROGRAM_GO | PROGRAM_SETID | PROGRAM_OTHER_LIBC | PROGRAM_OTHER_ARCH)

struct program {
	char path[PATH_MAX]; /* of the file that was looked at: of a script, its interpreter */
	bool script;
	unsigned facts;
	char runpath[PATH_MAX];
	char imports[4096]; /* separated by spaces */
};

/* path: of a program or script. prefixes and shim (the library's path) may be NULL: then that is
 * not looked at. -ENOEXEC: it is neither. */
int program_look(const char *path, const char *prefixes, const char *shim, struct program *ret);
/* Where the shell would find it. -ENOENT, -EACCES. */
int program_find(const char *name, char ret[PATH_MAX]);
/* "is statically linked", or NULL if it is served. */
const char *program_why(unsigned facts);
