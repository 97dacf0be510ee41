/* A metadata group and its clients in one process and one thread, on simulated disks, clocks and
 * network: every choice comes from one seed, so that a schedule can be run again exactly.
 *
 * What is real here is metad/replica*.c. What it runs on is a model, meant to be at least as hostile
 * as the world: messages are lost, doubled, overtake each other and are cut off one way; members
 * crash between any two actions and while they write; a write that was under way is there, or
 * not, or in part; bits flip; disks fill and fail, or are replaced by empty ones; processes stop for
 * seconds and go on; clocks run at different speeds. After every step invariants are checked
 * (sim_check.c), and in the end that what clients saw is explained by one order of operations. */
#pragma once

#include "../../metad/replica.h"

#define SIM_MEMBERS 5u
#define SIM_CLIENTS 6u
#define SIM_KEYS 4u
#define SIM_LOG 8192u /* entries of one run at most */
#define SIM_MSEC FF3_NSEC_PER_MSEC
#define SIM_SEC FF3_NSEC_PER_SEC

enum sim_op_kind { SIM_NOTHING, SIM_WRITE, SIM_CONFIG };

struct sim_entry {
	uint64_t epoch;
	enum sim_op_kind kind;
	uint32_t client, request, key;
	uint64_t value;
	int64_t time; /* wall clock, as the primary has it, never going back */
	struct replica_config config;
};

/* The database: what applying the log makes. */
struct sim_state {
	uint64_t seq, epoch, hash;
	int64_t time;
	uint64_t value[SIM_KEYS];
	uint32_t done[SIM_CLIENTS]; /* the last request of each client that was applied */
	struct replica_config config;
};

/* A log operation; one at a time is under way. */
struct sim_write {
	uint64_t seq, generation, n;
	bool reset;
	struct sim_entry *entries;
	struct replica_config config; /* reset */
	uint64_t epoch;
	struct sim_write *next;
};

/* What survives a crash. */
struct sim_disk {
	uint64_t epoch, vote, log_id;
	uint64_t base_seq, base_epoch, last_seq;
	struct replica_config base_config;
	struct sim_entry *log; /* SIM_LOG of them, by sequence number */
	uint64_t safe_seq;     /* a later batch tells that these were durable: damage there shows */
	uint64_t flipped;      /* an entry with a wrong checksum; 0: none */
	uint64_t damaged;      /* noted at recovery, until the log is whole again: as replica_disk has it */
	struct sim_state db;		   /* synced */
};

struct sim_pending {
	uint64_t seq;
	uint32_t client, request;
};

struct sim_member {
	uint64_t id;
	struct replica *core;
	struct replica_actions actions;
	bool up, failing; /* the next write to its disk fails */
	bool again;	  /* it is to start anew */
	uint32_t life;	  /* counts starts: events of an earlier one are void */
	uint64_t paused_until;
	double rate;	   /* of its clock */
	uint64_t offset;   /* and where that began */
	int64_t wall_jump; /* of its wall clock */
	uint64_t timer_at;

	struct sim_disk disk;
	struct sim_write *writes, **writes_end;
	/* In memory: the log as it will be when all writes are done, and the database. */
	struct sim_entry *log;
	uint64_t last_seq;
	struct sim_state db;
	struct sim_state *history; /* after each applied entry since db was synced */
	uint32_t n_history, room_history;
	struct sim_pending *pending;
	uint32_t n_pending, room_pending;
};

struct sim_client {
	uint32_t id, request;
	uint32_t member;   /* whom it asks */
	bool busy, is_read;
	uint32_t attempt;
	uint32_t key;
	uint64_t value, began;
	bool stopped;
};

/* What a client saw. */
struct sim_seen {
	uint32_t client, request, key;
	bool is_read, done;
	uint64_t value, began, ended;
};

enum sim_event_kind {
	SIM_DELIVER, SIM_TIMER, SIM_DISK, SIM_REQUEST, SIM_READ_ANSWER, SIM_ANSWER, SIM_CLIENT_NEXT,
	SIM_CLIENT_TIMEOUT, SIM_INSTALL, SIM_OFFER_END, SIM_FAULT, SIM_ADMIN, SIM_RESTART,
	SIM_CHECKPOINT, SIM_CRASH,
};

struct sim_event {
	uint64_t at, tie;
	enum sim_event_kind kind;
	uint32_t member, client, life, request, attempt, key;
	uint64_t value, seq;
	bool ok, is_read;
	struct replica_message message;
	struct sim_entry *entries;
	struct sim_state *state;
};

struct sim;
struct sim_options {
	uint32_t members;
	uint64_t duration_ns;
	uint64_t delay_ns; /* of a message, at most, usually */
	uint64_t rest_ns;  /* between two requests of a client, at most; 0: as usual */
	double drop, twice;
	double hunt; /* chance that a new primary has only moments to live */
	double crash, cut, pause, flip, fail, replace, admin, checkpoint; /* per second */
	double power; /* all at once */
	double one_way; /* cuts are that only, and a single one at a time */
	uint32_t message_entries; /* 0: as usual */
	bool slow;	/* the last member's disk and network */
	bool diverge;	/* member 2's database goes wrong once */
	bool again;	/* as the daemon: who loses the role or gets a checkpoint starts anew */
	bool heal_at_end;
	void (*at_end)(struct sim *s);
};

struct sim {
	uint64_t seed, random, now, ties;
	struct sim_options o;
	struct sim_event *heap;
	uint32_t n_heap, room_heap;
	struct sim_member members[SIM_MEMBERS + 1]; /* by id, from 1 */
	bool cut[SIM_MEMBERS + 1][SIM_MEMBERS + 1];
	struct sim_client clients[SIM_CLIENTS];
	bool quiet; /* no more faults */
	uint64_t n_events, n_faults;
	bool trace;

	/* sim_check.c */
	struct sim_entry *committed;
	uint64_t n_committed;
	uint64_t *hashes;   /* of the state after each */
	uint64_t *told_in; /* the epoch in which it was first told that each is committed */
	uint64_t max_epoch;
	uint32_t *primary_of; /* by epoch */
	uint32_t room_epochs;
	struct sim_seen *seen;
	uint32_t n_seen, room_seen;
	uint64_t next_value, next_log_id;
	uint32_t lame; /* member whose disk was damaged or replaced, until it is whole again; 0: none */
	uint64_t n_cuts, n_diverged, n_halted;
	char failure[256];
};

/* sim.c */
uint64_t sim_random(struct sim *s, uint64_t below);
bool sim_chance(struct sim *s, double p);
struct sim_event *sim_at(struct sim *s, uint64_t delay_ns, enum sim_event_kind kind);
void sim_fail(struct sim *s, const char *format, ...) PRINTF_LIKE(2, 3);
void sim_say(struct sim *s, const char *format, ...) PRINTF_LIKE(2, 3);
/* Runs one schedule. True: nothing was wrong; else s->failure tells what. */
bool sim_run(struct sim *s, uint64_t seed, const struct sim_options *options);
void sim_done(struct sim *s);

/* sim_disk.c */
/* The first n entries of w reach the disk. */
void sim_disk_write(struct sim_disk *d, const struct sim_write *w, uint64_t n);
void sim_member_format(struct sim *s, struct sim_member *m, const struct replica_config *config);
void sim_member_start(struct sim *s, struct sim_member *m);
void sim_member_crash(struct sim *s, struct sim_member *m);

/* sim_member.c */
/* Its next tick. */
void sim_member_arm(struct sim *s, struct sim_member *m);
/* entries: those of e's message. */
int sim_member_step(struct sim *s, struct sim_member *m, struct replica_event *e,
		    const struct sim_entry *entries);
void sim_member_deliver(struct sim *s, struct sim_member *m, const struct sim_event *e);
void sim_member_disk(struct sim *s, struct sim_member *m);
void sim_member_timer(struct sim *s, struct sim_member *m);
void sim_member_request(struct sim *s, struct sim_member *m, const struct sim_event *e);
void sim_member_read_answer(struct sim *s, struct sim_member *m, const struct sim_event *e);
void sim_member_install(struct sim *s, struct sim_member *m, const struct sim_state *state);
void sim_member_checkpoint(struct sim *s, struct sim_member *m);
uint64_t sim_member_clock(const struct sim *s, const struct sim_member *m);

/* sim_world.c: clients, faults, administration */
void sim_client_next(struct sim *s, struct sim_client *c);
void sim_client_timeout(struct sim *s, const struct sim_event *e);
void sim_client_answer(struct sim *s, const struct sim_event *e);
void sim_fault(struct sim *s);
void sim_crash(struct sim *s, struct sim_member *m);
void sim_admin(struct sim *s);
void sim_calm(struct sim *s);
bool sim_settled(const struct sim *s);
void sim_show(struct sim *s);

/* sim_worlds.c */
/* The options of a named world; NULL: a mixture, by seed. False: there is no such world. */
bool sim_world(const char *name, uint64_t seed, struct sim_options *ret);
/* Calls fn for the name of each. */
void sim_worlds(void (*fn)(const char *name, const char *text));

/* sim_check.c */
void sim_check_primary(struct sim *s, const struct sim_member *m, uint64_t epoch);
void sim_check_commit(struct sim *s, const struct sim_member *m, uint64_t seq);
/* Before a message leaves: a vote that is told is on disk. */
void sim_check_vote(struct sim *s, const struct sim_member *m, const struct replica_message *message);
void sim_check_applied(struct sim *s, const struct sim_member *m);
void sim_check_history(struct sim *s);
struct sim_seen *sim_saw(struct sim *s, const struct sim_client *c);
