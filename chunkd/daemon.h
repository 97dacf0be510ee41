/* The daemon's parts: targets (serve.c), the way to metad (register.c), HTTP (chunkd_admin.c). */
#pragma once

#include "../common/admin/metrics.h"
#include "../common/base/conf.h"
#include "../common/net/rpc_group.h"
#include "../common/net/server.h"
#include "caps.h"
#include "store.h"

struct chunkd_target;
struct chunkd_register;

struct chunkd_daemon;

/* A connection's peer. */
struct chunkd_conn {
	struct chunkd_target *target;
	struct chunkd_daemon *daemon;
	uint64_t session;
	uint32_t role;
	uint32_t user; /* as whom it is served */
	uint64_t epoch; /* metad's; others: 0 */
	uint32_t n_groups;
	uint32_t groups[]; /* the user's, its first one in front */
};

struct chunkd_daemon {
	const struct ff3_conf *conf;
	uint64_t node;
	uint64_t instance; /* new at every start */
	uint64_t cluster;  /* valid once registered */
	struct ff3_rpc_known known; /* of metad: whoever has a lower epoch is the primary no more */
	atomic_bool registered;
	char address[300], admin[300]; /* host:port, as told to metad */
	uint64_t started_ns;	       /* CLOCK_BOOTTIME */
	struct ff3_server *listener;
	struct ff3_tickets *tickets; /* NULL: there is no key */
	struct chunkd_target **targets;
	size_t n_targets;
	struct chunkd_register *registration;
	struct chunkd_caps *caps;
};

/* What is counted of each operation. */
enum chunkd_served { CHUNKD_READ, CHUNKD_WRITE, CHUNKD_SYNC, CHUNKD_TRUNCATE, CHUNKD_REMOVE,
		     CHUNKD_N_SERVED };
extern const char *const chunkd_served_names[CHUNKD_N_SERVED];

struct chunkd_target_view {
	uint64_t id;
	const char *dir;
	const struct chunkd_store_stats *stats;
	const struct ff3_histogram *latency; /* CHUNKD_N_SERVED of them */
};

/* --- serve.c: a target with its loop, its thread and its connections --------------------------- */

/* Loads the store of dir and prepares its thread. Says what is wrong. */
/* hot: of memory, what is for exposed chunks. */
int chunkd_target_new(struct chunkd_daemon *daemon, const char *dir, uint64_t memory, uint64_t hot,
		      struct chunkd_target **ret);
int chunkd_target_start(struct chunkd_target *target);
/* Closes connections, writes everything out, ends the thread. 0; FF3_E_OFFLINE: it could not. */
int chunkd_target_stop(struct chunkd_target *target);
void chunkd_target_free(struct chunkd_target *target);
struct chunkd_store *chunkd_target_store(struct chunkd_target *target);
struct ff3_server *chunkd_target_server(struct chunkd_target *target);
/* Any thread. */
void chunkd_target_view(const struct chunkd_target *target, struct chunkd_target_view *ret);

/* --- greet.c: who connects ----------------------------------------------------------------------- */

/* A target's answer to hello; *ret_conn: a struct chunkd_conn, to be freed. Any thread. */
int chunkd_greet(struct chunkd_target *target, struct chunkd_daemon *daemon, const struct ff3_req_hello *hello,
		 struct ff3_rep_hello *reply, void **ret_conn);
/* conn is of a metad that was the primary before another one. */
static inline bool chunkd_is_former(const struct chunkd_conn *conn)
{
	return conn->role == FF3_ROLE_METAD &&
	       conn->epoch < atomic_load_explicit(&conn->daemon->known.epoch, memory_order_acquire);
}

/* --- serve_expose.c ------------------------------------------------------------------------------ */

/* From now on the store's chunks may be exposed, in hot bytes. Without memory, they are not. */
void chunkd_serve_exposures(const struct chunkd_daemon *daemon, struct chunkd_store *store, uint64_t hot);
/* Rows of serve.c's table. */
void handle_chunk_expose(struct chunkd_target *target, struct ff3_request *r);
void handle_chunk_revoke(struct chunkd_target *target, struct ff3_request *r);
/* serve_list.c */
void handle_chunk_list(struct chunkd_target *target, struct ff3_request *r);

/* --- register.c: telling metad that we are here ------------------------------------------------- */

/* Starts the thread. on_registered runs once on it, when metad has taken us; on_fatal, when metad
 * belongs to another cluster. */
int chunkd_register_start(struct chunkd_daemon *daemon, void (*on_registered)(void *arg),
			  void (*on_fatal)(void *arg), void *arg);
void chunkd_register_stop(struct chunkd_daemon *daemon);
/* The last answer of metad: 0, or a negative code; and how long ago it was reached. Any thread. */
int chunkd_register_status(struct chunkd_daemon *daemon, uint64_t *ret_age_ms);

/* --- chunkd_admin.c ----------------------------------------------------------------------------- */

struct ff3_httpd;
int chunkd_admin_start(struct chunkd_daemon *daemon, struct ff3_httpd **ret);
