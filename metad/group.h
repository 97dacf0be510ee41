/* The member of a metadata group that this daemon is; alone, where no group is configured. What the
 * members agree on is replica.h's; here are the disk, the clock and the network around it.
 *
 * Life: open (what the directory has), then start; then a follower applies what is committed, and a
 * primary also serves. Who loses the primary's role executes the program anew: nothing that it held in
 * memory for clients outlives that. Alone, a daemon serves when start returns.
 *
 * Threads: the loop's. */
#pragma once

#include "record.h"
#include "replica.h"

struct metad;
struct metad_group;
struct ff3_request;
struct ff3_req_hello;
struct ff3_rep_hello;

/* argv: to execute again with. form: a new cluster is to be made here. Reads the configuration and the
 * directory, which is locked; makes m->db, m->apply and m->log, where there is something to make
 * them of, and everything for following. */
int metad_group_open(struct metad *m, char **argv, bool form);
int metad_group_start(struct metad *m);
void metad_group_free(struct metad *m);
/* No group is configured. */
bool metad_group_is_alone(const struct metad *m);
/* Records that are appended are to be proposed. */
bool metad_group_leads(const struct metad *m);
/* Clients are served. */
bool metad_group_serves(const struct metad *m);
/* Where to listen for clients and members. */
const char *metad_group_listen(const struct metad *m);
/* Answers that were found in the database or in memory may be told: nobody else is primary. */
bool metad_group_may_answer(struct metad *m);
/* Wants to give the role away before it ends. Whether there is still something to wait for. */
bool metad_group_leave(struct metad *m);

/* --- For the pipeline ------------------------------------------------------------------------ */

/* The last n records of the log, which are in the batch in the making. -EPERM: not now. */
int metad_group_propose(struct metad *m, uint32_t n);
/* A batch was cut; the log is durable up to seq; seq was applied. */
void metad_group_cut(struct metad *m);
void metad_group_durable(struct metad *m, uint64_t seq);
void metad_group_applied(struct metad *m, uint64_t seq);
/* The log's records up to seq are in the database, synced. full: there is no room for more log. */
void metad_group_safe(struct metad *m, uint64_t seq, bool full);
/* At the end of whatever happened: writes, applies, sends what is to be, and takes or leaves the role. */
void metad_group_turn(struct metad *m);

/* --- For serving ----------------------------------------------------------------------------- */

/* A member's hello. conn_user: as for other connections. */
int metad_group_hello(struct metad *m, const struct ff3_req_hello *q, struct ff3_rep_hello *p,
		      void **conn_user);
/* The body of a refusal with NOT_PRIMARY. */
size_t metad_group_refusal(const struct metad *m, void *body, size_t size);
/* A member's request, and where its payload goes. */
void metad_group_request(struct metad *m, struct ff3_request *r);
int metad_group_payload(struct metad *m, struct ff3_request *r);

/* --- For the HTTP endpoint ------------------------------------------------------------------- */

struct metad_group_member {
	uint64_t id, log_id; /* log_id: in the membership; 0: it is not in it */
	uint64_t here_log_id; /* that the process there has; 0: not known */
	const char *address; /* "": not in the configuration */
	bool voter, witness, connected;
	uint64_t match_seq;  /* as the primary knows */
	uint64_t heard_ms;   /* ago; UINT64_MAX: never */
	uint64_t copied, copy_size; /* a checkpoint is under way to it */
};
struct metad_group_view {
	struct replica_view replica;
	bool serving, alone, witness;
	const char *primary; /* its address; "" */
	uint64_t copied, copy_size; /* a checkpoint is under way to us */
	uint32_t n;
	struct metad_group_member member[2 * REPLICA_MEMBERS_MAX];
};
void metad_group_view(const struct metad *m, struct metad_group_view *ret);

enum metad_group_change { METAD_GROUP_ADMIT, METAD_GROUP_REMOVE, METAD_GROUP_HAND_OVER,
			  METAD_GROUP_PROMOTE };
/* 0: it was begun. -EPERM: not the primary; -EBUSY: another change is under way; -ENOENT: no such
 * member; -EINVAL: not with that member; -ENOTCONN: it is not connected; -EEXIST: there is a primary. */
int metad_group_change(struct metad *m, enum metad_group_change change, uint64_t id);
/* That was answered: now it may cost the process image. */
void metad_group_answered(struct metad *m);
/* The last change of the membership is committed. */
bool metad_group_is_settled(const struct metad *m);
