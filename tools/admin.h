/* ff3fs-admin: asking a daemon's admin endpoint. */
#pragma once

#include <jansson.h>

/* GET http://address/path. 0 and the document; otherwise an exit code of cli.h, its message
 * printed. */
int admin_get(const char *address, const char *path, json_t **ret);
