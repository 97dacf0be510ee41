/* What the files of replica.h's state machine share: replica.c (life, dispatch), replica_log.c (what
 * is known of the log), replica_elect.c (votes), replica_follow.c (receiving the log),
 * replica_lead.c (the primary). */
#pragma once

#include "replica.h"

/* Pairs of sequence number and hash that are kept to be compared. */
#define REPLICA_CHECKS 64u
/* Heartbeats whose answers may still come in time to be of use. */
#define REPLICA_ROUNDS 16u

struct replica_peer {
	uint64_t id, log_id;
	uint64_t next_seq;  /* to send */
	uint64_t match_seq; /* its log is ours up to here, durably */
	uint64_t round;	    /* it answered */
	uint64_t heard_ns, sent_ns, progress_ns;
	bool voted;
	bool probing; /* where its log meets ours is not known: one message at a time */
	bool offered; /* a checkpoint */
};

struct replica {
	uint64_t id, log_id;
	struct replica_options options;
	uint64_t now, seed;

	enum replica_role role;
	uint64_t epoch, vote;
	uint64_t primary; /* 0: not known */
	uint64_t heard_ns; /* of the primary, or when we started: no vote before election_ns passed */
	uint64_t election_due;
	uint64_t ask_due; /* a candidate: for the votes that have not come */
	bool damaged, save_due;
	bool transfer; /* this election was asked for by the primary */

	uint64_t base_seq, base_epoch, last_seq, durable_seq, commit_seq, applied_seq;
	uint64_t told_commit; /* by COMMIT */
	uint64_t generation; /* of the log: raised by every truncation */
	struct replica_run *runs;
	uint32_t n_runs, room_runs;
	/* Two at most in normal use: that of a committed entry, and one above it. */
	struct replica_change *changes; /* the first: as of the base */
	uint32_t n_changes, room_changes;

	/* Follower. */
	uint64_t matched_seq; /* our log is the primary's of this epoch up to here */

	/* Candidate and primary. */
	struct replica_peer peers[REPLICA_MEMBERS_MAX];
	uint32_t n_peers;
	uint64_t first_own; /* the entry that began this epoch */
	uint64_t round, heartbeat_due, lease_until;
	struct { uint64_t round, at; } sent[REPLICA_ROUNDS]; /* rounds whose answers may still extend the lease */
	uint64_t hand_over; /* to this member, UINT64_MAX: to whoever can; 0: no */
	uint64_t hand_over_until;

	struct { uint64_t seq, hash; } checks[REPLICA_CHECKS];
	uint64_t check_seq, check_hash; /* of the primary, to be compared when we get there */

	const struct replica_event *event;
	struct replica_actions *out;
	bool no_memory;
};

/* replica.c */
struct replica_action *replica_act(struct replica *r, enum replica_action_kind kind);
void replica_halt(struct replica *r, const char *reason);
void replica_save(struct replica *r);
/* A message to id with the fields that all have. */
struct replica_message *replica_say(struct replica *r, enum replica_message_kind kind, uint64_t id);
void replica_follow(struct replica *r, uint64_t epoch, uint64_t primary);
void replica_election_later(struct replica *r);
/* Tells the driver what may be applied. */
void replica_tell_commit(struct replica *r);

/* replica_log.c */
int replica_log_init(struct replica *r, const struct replica_disk *disk);
void replica_log_cut(struct replica *r, uint64_t last_seq);
int replica_log_add(struct replica *r, uint64_t seq, uint64_t epoch,
		    const struct replica_config *config);
void replica_log_reset(struct replica *r, uint64_t seq, uint64_t epoch,
		       const struct replica_config *config);
void replica_log_compact(struct replica *r, uint64_t seq);
/* The first entry of the run that seq belongs to. */
uint64_t replica_log_run_start(const struct replica *r, uint64_t seq);
/* The newest membership, committed or not, and the entry that made it. */
const struct replica_config *replica_config_now(const struct replica *r);
uint64_t replica_config_seq(const struct replica *r);
const struct replica_member *replica_member_find(const struct replica_config *c, uint64_t id);
uint32_t replica_n_voters(const struct replica_config *c);
/* Our own entry in the membership, if it is about this log. */
const struct replica_member *replica_self(const struct replica *r);
/* A voter; or one whose removal it has itself as the newest entry, not known to be committed: the others may lack
 * that entry, and then nobody else can win. */
bool replica_may_campaign(const struct replica *r);

/* replica_elect.c */
void replica_campaign(struct replica *r, bool pre);
void replica_campaign_tick(struct replica *r);
void replica_on_vote(struct replica *r, const struct replica_message *m);
void replica_on_vote_reply(struct replica *r, const struct replica_message *m);

/* replica_follow.c */
void replica_on_append(struct replica *r, const struct replica_message *m);
void replica_reply_append(struct replica *r, uint64_t round);
void replica_on_installed(struct replica *r, const struct replica_event *e);
void replica_compare(struct replica *r);
/* The newest pair of sequence number and hash that we can be compared by; 0 and 0: none. */
void replica_check_now(const struct replica *r, struct replica_message *m);

/* replica_lead.c */
void replica_lead(struct replica *r);
void replica_lead_tick(struct replica *r);
void replica_on_append_reply(struct replica *r, const struct replica_message *m);
void replica_on_offered(struct replica *r, uint64_t id);
void replica_lead_advance(struct replica *r);
int replica_propose(struct replica *r, uint32_t n);
int replica_configure(struct replica *r, const struct replica_config *config);
int replica_hand_over(struct replica *r, uint64_t id);
/* Members of the membership, as peers; what was known of those that stay is kept. */
void replica_peers_update(struct replica *r);
/* Votes of a majority: counts those peers for which fn says yes, and ourselves if self. */
bool replica_majority(const struct replica *r, bool self,
		      bool (*fn)(const struct replica *r, const struct replica_peer *p));
