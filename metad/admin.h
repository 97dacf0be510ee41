/* Shared by metad_admin.c, admin_lists.c and *_admin.c only. */
#pragma once

#include "../common/admin/httpd.h"
#include "metad.h"

#define ADMIN_TIMEOUT_MS 5000u

struct metad_admin {
	struct metad *m;
	struct ff3_httpd *httpd;
	struct metad_backup *backup;
};

json_t *metad_admin_hex(uint64_t v);
ff3_http_json_fn metad_admin_nodes, metad_admin_targets, metad_admin_chains, metad_admin_layout,
	metad_admin_removals;

/* backup_admin.c */
int metad_backup_new(struct metad *m, struct metad_backup **ret);
/* Ends one that is under way. */
void metad_backup_free(struct metad_backup *b);
ff3_http_json_fn metad_admin_backup_begin, metad_admin_backup_status, metad_admin_backup_drop;
ff3_http_file_fn metad_admin_backup_data;
