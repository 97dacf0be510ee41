/* Where the other parts of ff3fs are, beside the running program: installed (also when moved or
 * staged with DESTDIR) or in the build tree, whose real programs libtool keeps in .libs.
 * Results are absolute paths to be freed. */
#pragma once

#define SHIM_NAME "libff3fs_preload.so"

#include "../common/base/base.h"

/* "ff3fs-metad" → its path; -ENOENT. */
int where_program(const char *name, char **ret);
/* "libff3fs_preload.so" → its path; -ENOENT. */
int where_library(const char *name, char **ret);
/* The directory that belongs into PATH. */
int where_commands(char **ret);
