/* What the programs that read exposed chunks share; a failed check ends them with status 1. */
#pragma once

#include "../common/client/hot.h"
#include "e2e-client.h"

struct ff3fs *new_client(void);
struct ff3fs_file *must_open(struct ff3fs *c, const char *name, int flags);
