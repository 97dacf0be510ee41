/* The rules by which the members of a metadata group agree on one log: elections, replication,
 * commit, read leases, membership. Raft's, complete: pre-vote, check-quorum, commit by counting
 * only for entries of the own epoch, one change of membership at a time.
 *
 * A pure state machine: events in, actions out. No I/O, no clock (events carry CLOCK_BOOTTIME), no
 * randomness but a seeded one. It knows of each entry only its sequence number, its epoch and,
 * where it changes the membership, the new one; what is in entries is its driver's.
 *
 * The driver performs the actions of one step in order, before the next step:
 *   SAVE       must be on disk before any later action is performed
 *   TRUNCATE, WRITE, RESET   operations on the log in this order; they may still be under way when
 *              the next step runs. When a WRITE is durable, an event DURABLE tells.
 *   COMMIT     entries up to seq are to be applied, in order; an event APPLIED tells
 *   others     as described at enum replica_action_kind
 * An error of the disk is told by an event FAILED; after an action HALT, the process ends.
 *
 * Threads, fork, signals: none; one owner. */
#pragma once

#include "../common/base/base.h"

#define REPLICA_MEMBERS_MAX 7u
/* Entries that one message carries at most. */
#define REPLICA_ENTRIES_MAX 64u

struct replica_member {
	uint64_t id;
	uint64_t log_id; /* of its log: a replaced disk has another one */
	bool voter;	 /* else it only receives the log */
	bool witness;	 /* has a log but no database: it hands the primary's role on */
};

struct replica_config {
	uint32_t n;
	struct replica_member member[REPLICA_MEMBERS_MAX];
};

struct replica_entry {
	uint64_t epoch;
	const struct replica_config *config; /* NULL: an operation */
};

/* Entries from first_seq on have this epoch, until the next run begins. */
struct replica_run {
	uint64_t first_seq, epoch;
};

/* The entry seq made this the membership. */
struct replica_change {
	uint64_t seq;
	struct replica_config config;
};

struct replica_options {
	uint64_t heartbeat_ns;
	uint64_t election_ns; /* a primary that was silent for so long may be replaced */
	uint64_t lease_ns;    /* below election_ns by more than clocks drift in that time */
	uint32_t message_entries; /* that one message carries, at most REPLICA_ENTRIES_MAX */
};
#define REPLICA_OPTIONS                                                                             \
	((struct replica_options){ .heartbeat_ns = 50 * FF3_NSEC_PER_MSEC,                          \
				  .election_ns = 500 * FF3_NSEC_PER_MSEC,                          \
				  .lease_ns = 400 * FF3_NSEC_PER_MSEC,                             \
				   .message_entries = REPLICA_ENTRIES_MAX })

/* What a member knows from its disk when it starts. */
struct replica_disk {
	uint64_t epoch, vote; /* as last SAVEd; 0: never */
	uint64_t base_seq, base_epoch; /* the last entry that is in the checkpoint and not in the log */
	struct replica_config base_config; /* as of base_seq */
	const struct replica_run *runs; /* of the entries in the log */
	uint32_t n_runs;
	uint64_t last_seq; /* of the log; base_seq: it is empty */
	const struct replica_change *changes; /* of the membership, in the log, in order */
	uint32_t n_changes;
	uint64_t applied_seq;
	/* Damage in the log's middle took entries behind last_seq that were there once: no vote until it is
	 * whole again, and nobody is followed who may count on them: what was primary below this epoch.
	 * The driver makes it epoch + 1 when it finds damage, and remembers it until replica_view says
	 * that the log is whole; a restart in between is no new damage. 0: none. */
	uint64_t damaged;
};

enum replica_role {
	REPLICA_FOLLOWER,
	REPLICA_PRE_CANDIDATE, /* asks whether it could win, before it disturbs anybody */
	REPLICA_CANDIDATE,
	REPLICA_PRIMARY,
	REPLICA_HALTED,
};

enum replica_message_kind {
	REPLICA_VOTE,	      /* last_seq, last_epoch; pre, transfer */
	REPLICA_VOTE_REPLY,   /* granted, pre */
	REPLICA_APPEND,	      /* prev_seq, prev_epoch, entries, commit_seq, check_*, round */
	REPLICA_APPEND_REPLY, /* granted; match_seq (refused: where it might match), round */
	REPLICA_TRANSFER,     /* the receiver shall become the primary now */
};

struct replica_message {
	enum replica_message_kind kind;
	uint64_t from, to;
	uint64_t log_id; /* the sender's */
	uint64_t epoch;	 /* the sender's; of a pre-vote: the one it would take */
	bool pre, transfer, granted;
	uint64_t last_seq, last_epoch;
	uint64_t prev_seq, prev_epoch;
	uint64_t commit_seq;
	uint64_t match_seq;
	uint64_t round; /* counts the primary's heartbeats; comes back in the reply */
	uint64_t check_seq, check_hash; /* the sender's state after applying check_seq */
	uint32_t n_entries;
	const struct replica_entry *entries; /* prev_seq + 1 and on */
};

enum replica_event_kind {
	REPLICA_TICK,	   /* time passed; at least when replica_deadline says */
	REPLICA_MESSAGE,   /* arrived */
	REPLICA_DURABLE,   /* the log is durable up to seq, as of the WRITE with generation */
	REPLICA_APPLIED,   /* up to seq; hash: of everything applied and its results */
	REPLICA_PROPOSE,   /* n entries; the primary only */
	REPLICA_CONFIGURE, /* config: differing from the present one by one member */
	REPLICA_INSTALLED, /* RECEIVE is over: a checkpoint up to seq with epoch and config is here */
	REPLICA_COMPACTED, /* the log up to seq, which was applied, is no longer there */
	REPLICA_HAND_OVER, /* to member id, 0: any; the primary only */
	REPLICA_OFFERED,   /* an OFFER to member id was carried out, or failed */
	REPLICA_FAILED,	   /* the log or the database had an error */
};

struct replica_event {
	enum replica_event_kind kind;
	uint64_t now; /* CLOCK_BOOTTIME, ns; every event */
	const struct replica_message *message;
	uint64_t seq, epoch, generation, hash, id;
	uint32_t n;
	const struct replica_config *config;
};

enum replica_action_kind {
	REPLICA_SAVE,	  /* epoch, vote */
	REPLICA_TRUNCATE, /* the log after seq */
	REPLICA_WRITE,	  /* n entries from seq on, of epoch: those of the event's message from index
			   * on; or, for an event PROPOSE, CONFIGURE or with own set, new ones */
	REPLICA_RESET,	  /* the log is empty and begins behind seq */
	REPLICA_SEND,	  /* message, with entries prev_seq + 1 … prev_seq + n_entries of the log (their
			   * entries pointer is NULL: the driver reads them) */
	REPLICA_OFFER,	  /* id needs a checkpoint: the log does not reach back far enough */
	REPLICA_COMMIT,	  /* apply up to seq */
	REPLICA_PRIMARY_NOW, /* the role was won; epoch. Serve when replica_is_serving says so */
	REPLICA_PRIMARY_NO_MORE, /* whatever was proposed and not applied may or may not survive */
	REPLICA_HALT,	  /* end the process: reason */
};

struct replica_action {
	enum replica_action_kind kind;
	uint64_t seq, epoch, vote, generation, id;
	uint32_t n, index;
	bool own; /* WRITE: a single entry of the core's: config, or one without an operation */
	const struct replica_config *config; /* valid until the next step */
	const char *reason;
	struct replica_message message;
};

struct replica_actions {
	struct replica_action *v;
	uint32_t n, room;
};

struct replica;

/* -ENOMEM; -EINVAL: disk contradicts itself. seed: for the spread of election times. */
int replica_new(uint64_t id, uint64_t log_id, const struct replica_disk *disk,
		const struct replica_options *options, uint64_t now, uint64_t seed,
		struct replica **ret);
void replica_free(struct replica *r);

/* Empties out and fills it with what is to be done. 0; PROPOSE, CONFIGURE, HAND_OVER: -EPERM: not the
 * primary, -EBUSY: not now, -EINVAL; CONFIGURE: -EAGAIN: the new voter has not
 * caught up yet. -ENOMEM leaves everything unchanged only for PROPOSE. */
int replica_step(struct replica *r, const struct replica_event *event, struct replica_actions *out);
void replica_actions_done(struct replica_actions *out);

/* When a TICK is due at the latest. */
uint64_t replica_deadline(const struct replica *r);
/* Before the database is read for a client: what to give to replica_may_answer afterwards; 0: this
 * member cannot know what is current. */
uint64_t replica_read_begin(const struct replica *r);
/* After the read: whether its result may be told. A process that was stopped in between finds its lease
 * over, or its role lost. now: read from the clock after the database was. */
bool replica_may_answer(const struct replica *r, uint64_t begun, uint64_t now);
/* The primary has committed an entry of its own epoch and is not a witness: it takes requests. */
bool replica_is_serving(const struct replica *r);

struct replica_view {
	uint64_t id, log_id, epoch, vote, primary;
	enum replica_role role;
	bool damaged;
	uint64_t base_seq, last_seq, durable_seq, commit_seq, applied_seq;
	struct replica_config config;
	uint64_t match_seq[REPLICA_MEMBERS_MAX]; /* primary: of config's members */
	uint64_t heard_ns[REPLICA_MEMBERS_MAX];
};
void replica_view(const struct replica *r, struct replica_view *ret);
/* 0 if seq is neither in the log nor its base. */
uint64_t replica_epoch_at(const struct replica *r, uint64_t seq);
const char *replica_role_name(enum replica_role role);
