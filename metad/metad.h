/* The serving side of metad: what its files share. One thread, one loop: requests, sessions, the
 * log's pipeline, the database. Other threads: workers (worker.h), the HTTP server. */
#pragma once

#include "../common/admin/metrics.h"
#include "../common/base/conf.h"
#include "../common/net/loop.h"
#include "../common/net/server.h"
#include "apply.h"
#include "log.h"
#include "worker.h"

struct metad_routes;   /* routes.c */
struct metad_pipeline; /* pipeline.c */
struct metad_cleaner;  /* cleaner.c */
struct metad_sessions; /* session.c */
struct metad_files;    /* file.h */
struct metad_checkpointer;
struct metad_caps; /* caps.c */
struct metad_group; /* group.h */
struct metad_leases; /* lease.c */
struct metad_readers; /* readers.h */
struct metad_filler;  /* filler.h */
struct metad_ahead;   /* ahead.h */

struct metad {
	const struct ff3_conf *conf;
	struct ff3_loop *loop;
	struct ff3_server *server;
	struct ff3_tickets *tickets; /* NULL: there is no key */
	struct metad_db *db;
	struct metad_log *log;
	struct metad_apply *apply;
	uint64_t instance;
	uint64_t epoch; /* in which it serves */
	struct metad_walk walk; /* of reads */
	uint64_t next_ino;
	uint64_t started_ns; /* CLOCK_BOOTTIME */
	char listen[256];    /* the real address */
	bool stopping;
	bool no_locks;       /* the one before ended in good order, and nobody held a lock */
	bool fresh;          /* the database was made by this start: no client can know anything of it */
	struct metad_sessions *sessions;
	struct metad_files *files;
	struct metad_pipeline *pipeline;
	struct metad_routes *routes;
	struct metad_cleaner *cleaner;
	struct metad_checkpointer *checkpointer;
	struct metad_caps *caps;
	struct metad_group *group;
	struct metad_fsck *fsck; /* fsck.h */
	struct metad_leases *leases;
	struct metad_readers *readers;
	struct metad_filler *filler;
	struct metad_ahead *ahead;
	uint32_t n_turn; /* requests in this turn of the loop */
	struct ff3_timer tick; /* once a second */
	uint8_t *scratch;      /* FF3_BODY_MAX, for replies */
	struct ff3_histogram latency[FF3_OP_MAX]; /* until answered; what waited for others is left out */
	ff3_counter n_failed;
	bool deferred; /* the request being served is answered later */
};

/* Writes the reason and ends the process with status 1: where going on could lose or invent
 * something. */
_Noreturn void metad_die(int r, const char *what);

/* A connection's peer. */
struct metad_conn {
	struct metad_session *session;
	uint64_t session_id;
	struct metad_cred cred;
	uint32_t role;
	uint64_t member, log_id; /* role MEMBER */
	uint32_t groups[];
};

/* What is changed by an operation that is logged and not applied, for lease.c: nothing of it is granted. */
#define METAD_LEASE_SET 8u
struct metad_lease_pins {
	uint16_t n;
	bool all;
	uint16_t slots[METAD_LEASE_SET];
};

/* --- pipeline.c: mutations ----------------------------------------------------------------- */

/* Called when a record was applied; m->apply has the result. r (may be NULL) is to be answered. */
struct metad_mutation;
typedef void metad_applied_fn(struct metad *m, struct metad_mutation *mutation);
struct metad_mutation {
	struct ff3_request *r;
	metad_applied_fn *applied;
	uint64_t session;
	struct ff3_tag tag;
	uint32_t open_flags;
	uint64_t received_ns;
	struct metad_lease_pins lease_pins;
	uint64_t times_ino; /* whose mtime is set, if it is held in memory */
	const struct metad_record *rec; /* while applied runs */
};

int metad_pipeline_new(struct metad *m);
void metad_pipeline_free(struct metad *m);
/* Logs rec (time is set here) and later calls mutation->applied. -EAGAIN: too much under way. */
int metad_pipeline_add(struct metad *m, struct metad_record *rec,
		       const struct metad_mutation *mutation);
/* An operation of metad's own. */
int metad_pipeline_add_own(struct metad *m, enum metad_log_op op, const void *payload, size_t len,
			   metad_applied_fn *applied);
/* A record of the group's own: neither to be proposed nor answered. */
int metad_pipeline_append(struct metad *m, struct metad_record *rec);
/* Does what can be done if there is something to log. */
void metad_pipeline_kick(struct metad *m);
/* Proposes what was added, and cuts a batch if there is one and the log is free. */
void metad_pipeline_advance(struct metad *m);
bool metad_pipeline_all_proposed(const struct metad *m);
/* Before the loop runs: writes the batch in the making. */
int metad_pipeline_write_now(struct metad *m);
/* Up to seq may be applied; and applies some of it. */
void metad_pipeline_set_commit(struct metad *m, uint64_t seq);
uint64_t metad_pipeline_commit_seq(const struct metad *m);
void metad_pipeline_apply(struct metad *m);
bool metad_pipeline_is_paused(const struct metad *m);
/* Commits what was applied to the database, which otherwise happens within 100 ms. */
void metad_pipeline_commit(struct metad *m);
/* It is being committed by another thread: what is not in memory would have to wait. */
bool metad_pipeline_is_committing(const struct metad *m);
/* There are changes that are not committed. */
bool metad_pipeline_is_changing(const struct metad *m);
/* What metad_lease_may_apply held back. */
void metad_pipeline_resume(struct metad *m);
/* Nothing is being written, and nobody waits for something to be applied. */
bool metad_pipeline_idle(const struct metad *m);
/* While paused nothing is applied. */
void metad_pipeline_pause(struct metad *m, bool pause);
struct metad_pipeline_stats {
	uint64_t n_batches, n_records, n_bytes, fsync_ns;
};
const struct metad_pipeline_stats *metad_pipeline_stats(const struct metad *m);

/* --- session.c, file.c: what is held in memory --------------------------------------------- */

int metad_sessions_new(struct metad *m);
void metad_sessions_free(struct metad *m);
/* Finds or makes a session for a connection. */
int metad_session_join(struct metad *m, uint64_t id, struct metad_session **ret);
void metad_session_leave(struct metad *m, struct metad_session *s);
struct metad_session *metad_session_find(struct metad *m, uint64_t id);
/* Mutations of s with a number up to this may be repetitions. */
uint64_t metad_session_logged(const struct metad_session *s);
void metad_session_note_logged(struct metad_session *s, uint64_t seq);
uint64_t metad_session_id(const struct metad_session *s);
/* The log knows that s takes locks: after a restart it is waited for. */
bool metad_session_is_locker(const struct metad_session *s);
void metad_session_set_locker(struct metad_session *s);
/* What it holds in memory, which is not in the log, it takes again after a restart: others wait for that. Logged;
 * metad_session_is_locker says so from when it is durable. -EAGAIN. */
int metad_session_note(struct metad *m, const struct metad_session *s);
/* It has taken again all that it held. */
void metad_session_set_returned(struct metad_session *s);
/* Sessions that may have held something have not come back with it since the start. */
bool metad_sessions_missing(struct metad *m);
/* seq: of an open that is answered; a repetition registers nothing. -EMFILE: too many. */
int metad_session_open(struct metad *m, struct metad_session *s, uint64_t ino, bool write,
		       const struct ff3_tag *tag);
void metad_session_release(struct metad *m, struct metad_session *s, uint64_t ino, uint32_t n);
bool metad_session_has_open(struct metad *m, const struct metad_session *s, uint64_t ino,
			    bool write);
/* That reader may read ino was checked when s opened it; and whether it ever was, and whose right it was. A session's
 * connections may be of several users, and not all of them true. */
void metad_session_set_granted(struct metad_session *s, uint64_t ino, struct metad_reader reader);
bool metad_session_is_granted(const struct metad_session *s, uint64_t ino, struct metad_reader *ret);
bool metad_is_open(struct metad *m, uint64_t ino);
/* Ends sessions whose lease is over. */
void metad_sessions_tick(struct metad *m);
void metad_sessions_count(const struct metad *m, uint64_t *ret_sessions, uint64_t *ret_opens);

/* Less than a lease ago this was started: clients may yet come back and tell what its predecessor had in memory. */
bool metad_is_young(const struct metad *m);

/* The size that a file reaches by writes not yet logged, and locks for appending. */
struct metad_file;
int metad_files_new(struct metad *m);
void metad_files_free(struct metad *m);
struct metad_file *metad_file_find(struct metad *m, uint64_t ino);
/* NULL: no memory. */
struct metad_file *metad_file_get(struct metad *m, uint64_t ino);
/* Forgets it unless something is held. */
void metad_file_put(struct metad *m, struct metad_file *f);
void metad_file_overlay(struct metad *m, struct metad_inode *inode);
void metad_file_overlay_attr(struct metad *m, struct ff3_attr *attr);
void metad_file_add_open(struct metad_file *f, int n);
/* f is perhaps open no more: it is put, and collected if it has no name, as are the parents that it held. */
void metad_file_closed(struct metad *m, struct metad_file *f);
/* A removed directory that is open keeps the one above it, which ".." leads to, and that its own. -ENOMEM. */
int metad_file_hold_parent(struct metad *m, const struct metad_inode *inode);
/* lock.c: the session has it open no more. */
void metad_file_drop_locks(struct metad *m, struct metad_file *f, uint64_t session);
bool metad_file_has_locks_of(struct metad *m, uint64_t ino, uint64_t session);
/* Several sessions have it open. */
bool metad_file_is_shared(struct metad *m, uint64_t ino);
void metad_file_extend(struct metad *m, struct metad_file *f, uint64_t end,
			uint32_t kill_mode);
/* What commit has to log for ino; false: nothing. */
bool metad_file_update(struct metad *m, const struct metad_inode *inode, uint64_t end,
		       struct metad_size_update *ret);
/* u was applied. */
void metad_file_logged(struct metad *m, const struct metad_size_update *u);
/* A request that sets the mtime of ino was logged: until it is applied, the time held here is not
 * logged, since it would come after it. */
void metad_file_times_begin(struct metad *m, uint64_t ino);
/* It was applied; set: successfully. */
void metad_file_times_end(struct metad *m, uint64_t ino, bool set);
/* The file was cut. Returns the end it was known to have. */
/* What is in the database is newer than what writers have told of. */
void metad_file_retimed(struct metad *m, uint64_t ino);
uint64_t metad_file_cut(struct metad *m, uint64_t ino);
/* Logs sizes noted before CLOCK_BOOTTIME before_ns. */
void metad_files_flush(struct metad *m, uint64_t before_ns);
bool metad_files_dirty(const struct metad *m);
/* Its size and times are noted in memory. */
bool metad_file_is_dirty(struct metad *m, uint64_t ino);
/* Requests that wait until a truncation is over: parked and run again, or answered with body. */
void metad_file_set_truncating(struct metad *m, uint64_t ino, bool truncating);
bool metad_file_is_truncating(struct metad *m, uint64_t ino);
int metad_file_park_request(struct metad *m, uint64_t ino, struct ff3_request *r);
int metad_file_park_reply(struct metad *m, uint64_t ino, struct ff3_request *r, const void *body,
			  size_t len);
/* Grants at once or queues. */
int metad_file_append_lock(struct metad *m, struct ff3_request *r, struct metad_conn *conn,
			   uint64_t ino);
/* It has that right. */
bool metad_file_may_append(struct metad *m, uint64_t ino, uint64_t session, uint64_t grant);
/* grant 0: whichever right it has, and none that it has asked for. */
void metad_file_append_unlock(struct metad *m, uint64_t ino, uint64_t session, uint64_t grant);
/* append.c: before the size of ino is logged in another way, or cut, or told to session, who may append then: whoever
 * appended last, and may ask again, is answered by the log from now on. session has every answer below acked. -EAGAIN. */
int metad_append_settle(struct metad *m, uint64_t ino, uint64_t session, uint64_t acked);
void metad_files_conn_closed(struct metad *m, struct metad_conn *conn);

/* --- routes.c ------------------------------------------------------------------------------ */

int metad_routes_new(struct metad *m);
void metad_routes_free(struct metad *m);
int metad_routes_reload(struct metad *m);
/* Fills ids with up to n chains for a new file, and returns how many; 0: there are none. */
uint32_t metad_routes_pick(struct metad *m, uint32_t *ids, uint32_t n);
/* Where chain's chunks are: target and address (valid until the routes change). -ENOENT. */
int metad_routes_find(const struct metad *m, uint32_t chain, uint64_t *ret_target,
		      const char **ret_address);
void metad_routes_heartbeat(struct metad *m, const struct ff3_req_heartbeat *q);
void metad_routes_encode(struct metad *m, struct ff3_rep_routes *p, uint8_t *buf, size_t size);
void metad_routes_space(const struct metad *m, uint64_t *ret_capacity, uint64_t *ret_used);
/* A target is offline or was not heard of lately. */
bool metad_routes_degraded(const struct metad *m);
size_t metad_routes_count(const struct metad *m, size_t *ret_targets, size_t *ret_chains);

/* --- cleaner.c: orphans, garbage, truncations ---------------------------------------------- */

int metad_cleaner_new(struct metad *m);
void metad_cleaner_free(struct metad *m);
/* ino has no name any more; collected when it is open nowhere. */
void metad_cleaner_orphan(struct metad *m, uint64_t ino);
/* A truncation of ino is pending; upto: its end before, UINT64_MAX if that is not known. */
void metad_cleaner_truncate(struct metad *m, uint64_t ino, uint64_t upto);
/* A tree waits to be taken down. */
void metad_cleaner_tree(struct metad *m);
void metad_cleaner_tick(struct metad *m);
/* The database was committed: nothing has to wait for it. */
void metad_cleaner_committed(struct metad *m);
struct metad_cleaner_stats {
	uint64_t n_truncations, n_removed, n_failed_calls;
	uint64_t n_taken_down; /* inodes that lost their name with a tree */
};
const struct metad_cleaner_stats *metad_cleaner_stats(const struct metad *m);

/* --- caps.c -------------------------------------------------------------------------------- */

int metad_caps_new(struct metad *m);
void metad_caps_free(struct metad *m);
void metad_caps_tick(struct metad *m);
/* Packed cap_key; valid until the next call. */
struct ff3_blob metad_caps_keys(struct metad *m);
/* What session may do with inode, by reader's right, in buf; empty: nothing that takes a cap. */
struct ff3_blob metad_caps_make(struct metad *m, const struct metad_inode *inode, uint64_t session,
				struct metad_reader reader, uint32_t open_flags, uint8_t buf[FF3_CAP_MAX]);
/* The same for an answer to an open: only if the file's first read will ask for its chunk. */
struct ff3_blob metad_caps_at_open(struct metad *m, const struct metad_inode *inode, uint64_t session,
				   struct metad_reader reader, uint32_t open_flags, uint8_t buf[FF3_CAP_MAX]);
/* Its mode or owner has changed: caps of before are void. */
void metad_caps_revoke(struct metad *m, uint64_t ino);

/* --- lease.c: what clients keep of names and attributes ---------------------------------------- */

/* restored: from a backup, in which the mark may be missing. */
int metad_leases_new(struct metad *m, bool restored);
void metad_leases_free(struct metad *m);
/* A note of sessions in the log, which says that leases may have been granted. */
#define METAD_LEASE_MARK 1u
/* Before r, a mutation, is logged, and before r changes the attributes of inode: 0: nobody keeps what
 * it changes. 1: r was parked, and runs again when that is so. Negative: it fails. */
int metad_lease_before(struct metad *m, struct metad_conn *conn, struct ff3_request *r);
int metad_lease_before_inode(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
			     const struct metad_inode *inode);
/* After metad_lease_before, and when what it was for was applied, or could not be logged. */
void metad_lease_pin(struct metad *m, struct metad_lease_pins *ret);
void metad_lease_unpin(struct metad *m, const struct metad_lease_pins *pins);
/* Before rec is applied. false: not now; metad_pipeline_pause(m, false) follows. */
bool metad_lease_may_apply(struct metad *m, const struct metad_record *rec);
void metad_lease_conn_closed(struct metad *m, struct metad_conn *conn);
void metad_lease_tick(struct metad *m);
/* Somebody is away who may have open what he has not told of: nothing is collected. */
bool metad_lease_keeps_orphans(struct metad *m);
struct metad_lease_stats {
	uint64_t n_holders, n_dirs, n_grants; /* at present */
	uint64_t n_granted, n_revoked, n_waited, n_lapsed;
};
const struct metad_lease_stats *metad_lease_stats(const struct metad *m);

/* --- checkpointer.c ------------------------------------------------------------------------ */

int metad_checkpointer_new(struct metad *m);
void metad_checkpointer_free(struct metad *m);
/* After each batch: checkpoints and makes segments as needed, on a thread of its own. */
void metad_checkpointer_poll(struct metad *m);
/* Blocks until everything applied is in the database file, synced. */
int metad_checkpointer_run_now(struct metad *m);
uint64_t metad_checkpointer_count(const struct metad *m);
/* n 1: somebody reads one state of the database for long (db_snapshot.h); -1: no more. Any thread. */
void metad_checkpointer_hold(struct metad *m, int n);
/* SQLite's log is about to begin anew, for which nobody may read from it. */
bool metad_checkpointer_wants_no_readers(const struct metad *m);

/* --- serve*.c ------------------------------------------------------------------------------ */

int metad_serve_start(struct metad *m, uint16_t *ret_port);
void metad_serve_stop(struct metad *m);
/* Runs a request again that was parked. */
void metad_serve_request(struct metad *m, struct ff3_request *r);
/* serve_mutate.c. Logs r's body; rec has what was decided. Negative: r is answered; -EINPROGRESS: it comes again. */
int metad_log_request(struct metad *m, struct metad_conn *conn, struct ff3_request *r,
		      const struct ff3_tag *tag, struct metad_record *rec);
/* serve_session.c. The file's inode, if this session has it open for writing. -EBADF, -ESTALE, -EINVAL. */
int metad_serve_open_file(struct metad *m, const struct metad_conn *conn, uint64_t ino, struct metad_inode *ret);
/* Others wait for what the loop does now. */
bool metad_is_busy(const struct metad *m);
/* Answers with a status, and where a path left the file system, with where it goes on. METAD_DB_ELSEWHERE: it
 * was taken (readers.h). */
void metad_reply_status(struct metad *m, struct ff3_request *r, int status);
#define METAD_SERVE_READ(op)                                                                       \
	void serve_##op(struct metad *m, struct metad_conn *conn, struct ff3_request *r,           \
			const struct ff3_req_##op *q);
#define METAD_SERVE_SESSION(op) METAD_SERVE_READ(op)
#define METAD_SERVE_MUTATE(op)                                                                     \
	void serve_##op(struct metad *m, struct metad_conn *conn, struct ff3_request *r,           \
			const struct ff3_req_##op *q);
#define METAD_SERVE_DATA(op)
#define METAD_SERVE_DECLARE(number, op, daemon, traits) METAD_SERVE_##traits(op)
FF3_OPS(METAD_SERVE_DECLARE)
/* lock.c: nobody holds a lock, nor can come back with one. */
bool metad_locks_none(struct metad *m);

/* --- restored.c ---------------------------------------------------------------------------- */

/* Its directory was made from a backup, and no record was written since. */
bool metad_is_restored(const struct metad *m);
/* Its epoch goes on so far above, that whatever was served after the backup is of an earlier one. */
#define METAD_RESTORED_EPOCHS ((uint64_t)1 << 20)
/* What the first record has to have as its inode number; 0: nothing. And when that was applied. */
uint64_t metad_restored_ino(struct metad *m);
void metad_restored_done(const struct metad *m);

/* --- metad_admin.c ------------------------------------------------------------------------- */

struct metad_admin;
int metad_admin_new(struct metad *m, struct metad_admin **ret);
void metad_admin_free(struct metad_admin *admin);
const char *metad_admin_address(const struct metad_admin *admin);
