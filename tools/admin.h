/* ff3fs-admin: asking a daemon's admin endpoint. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* GET http://address/path. 0 and the document; otherwise an exit code of cli.h, its message
 * printed. */
int admin_get(const char *address, const char *path, json_t **ret);
/* POST, with body (taken) if it is not NULL. */
int admin_post(const char *address, const char *path, json_t *body, json_t **ret);
/* GET of bytes: each piece goes to fn, which ends the transfer by a result other than 0. */
int admin_fetch(const char *address, const char *path,
		int (*fn)(void *arg, const char *p, size_t len), void *arg);

/* admin_members.c: exit codes, too. id of hand_over: NULL: any. */
int admin_members(const char *address);
int admin_admit(const char *address, const char *id);
int admin_remove(const char *address, const char *id);
int admin_hand_over(const char *address, const char *id);
int admin_promote(const char *address);

/* admin_fsck.c: an exit status of fsck(8). */
int admin_fsck(const char *address, bool repair);
/* admin_metad.c: exit codes, too. */
int admin_backup(const char *address, const char *path);
int admin_restore(const char *file, const char *dir);
