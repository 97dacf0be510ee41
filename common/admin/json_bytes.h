/* File names are bytes, JSON strings are Unicode. */
#pragma once

#include <jansson.h>

#include "../base/base.h"

/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. NULL without memory. */
json_t *ff3_json_bytes(const char *p, size_t len);
