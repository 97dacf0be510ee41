/* Shared by metad_admin.c, admin_lists.c and *_admin.c only. */
#pragma once

#include "../common/admin/httpd.h"
#include "group.h"
#include "metad.h"

#define ADMIN_TIMEOUT_MS 5000u

struct metad_admin {
	struct metad *m;
	struct ff3_httpd *httpd;
	struct metad_backup *backup;
	struct metad_fsck *fsck;
};

json_t *metad_admin_hex(uint64_t v);
/* admin_members.c */
struct metad_admin_view {
	struct metad *m;
	struct metad_group_view view;
};
int metad_admin_view(struct metad_admin *admin, struct metad_admin_view *ret);
const char *metad_admin_role(const struct metad_group_view *v);
/* The problem that this one does not serve. Returns the HTTP status. */
int metad_admin_not_primary(struct metad_admin *admin, json_t **ret);
ff3_http_json_fn metad_admin_members, metad_admin_member, metad_admin_hand_over, metad_admin_promote;
ff3_http_json_fn metad_admin_nodes, metad_admin_targets, metad_admin_chains, metad_admin_layout,
	metad_admin_removals;

/* fsck_admin.c */
ff3_http_json_fn metad_admin_fsck_begin, metad_admin_fsck_status, metad_admin_fsck_cancel;

/* backup_admin.c */
int metad_backup_new(struct metad *m, struct metad_backup **ret);
/* Ends one that is under way. */
void metad_backup_free(struct metad_backup *b);
ff3_http_json_fn metad_admin_backup_begin, metad_admin_backup_status, metad_admin_backup_drop;
ff3_http_file_fn metad_admin_backup_data;
