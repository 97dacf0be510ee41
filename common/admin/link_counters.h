/* What came to a daemon by what carries it, for people and for Prometheus. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "../net/counters.h"

/* Adds from's counters to into. */
void ff3_link_counters_add(struct ff3_server_counters *into, const struct ff3_server_counters *from);
/* ff3fs_<daemon>_requests_total and its sisters; what never happened is left out. */
void ff3_link_counters_print(FILE *out, const char *daemon, const struct ff3_server_counters *c);
/* {"tcp": {"connections": 1, "requests": 2, "instead_of": {"shm: nobody": 1}}}: the links that were used. */
json_t *ff3_link_counters_json(const struct ff3_server_counters *c);
