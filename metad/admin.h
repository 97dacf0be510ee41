/* Shared by metad_admin.c and admin_lists.c only. */
#pragma once

#include "../common/admin/httpd.h"
#include "metad.h"

#define ADMIN_TIMEOUT_MS 5000u

struct metad_admin {
	struct metad *m;
	struct ff3_httpd *httpd;
};

json_t *metad_admin_hex(uint64_t v);
ff3_http_json_fn metad_admin_nodes, metad_admin_targets, metad_admin_chains, metad_admin_layout,
	metad_admin_removals;
