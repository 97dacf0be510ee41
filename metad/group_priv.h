/* Shared by group*.c only: group.c (actions of the core, the turn), group_conf.c (the list of
 * members), group_disk.c (what the directory has), group_role.c (serving, and no more), group_link.c
 * (connections), group_wire.c (messages), group_admit.c (membership), group_copy.c and
 * group_install.c (checkpoints). */
#pragma once

#include "../common/net/out.h"
#include "group.h"
#include "metad.h"
#include "vote.h"

struct group_peer {
	struct metad_group *g;
	uint64_t id;
	char *address;
	bool witness;
	struct ff3_out *out; /* NULL: ourselves */
	uint64_t log_id;     /* as it told; 0: not known */
	uint64_t admit_log_id, refused_log_id; /* may come in although another one was; may not, and was told */
	int error;	     /* of the last attempt to connect, to be told once */
	bool told_election;
};

struct group_copy;    /* group_copy.c: to another member */
struct group_install; /* group_install.c: to us */

struct metad_group {
	struct metad *m;
	char **argv;
	bool alone, witness;
	uint32_t n_peers;
	struct group_peer peers[REPLICA_MEMBERS_MAX]; /* as configured, ourselves among them */
	struct group_peer *self;

	struct metad_vote vote;
	struct replica_disk disk; /* until start */
	struct replica_run *runs;
	struct replica_change *changes;
	uint32_t room_runs, room_changes;
	uint64_t cluster; /* 0: not known yet */

	struct replica *core;
	struct replica_actions actions;
	struct ff3_timer timer, admit;
	uint64_t timer_ns; /* when it is due; 0: not armed */
	uint64_t generation, cut_generation; /* of the log: of what was appended, of what is written */
	uint64_t begun; /* by replica_read_begin, since it serves */
	uint64_t compacted_seq;
	uint64_t offer_failed; /* to this member; to be told to the core */
	uint64_t hand_over_to; /* when that was answered; 0: nobody, UINT64_MAX: anybody */
	uint64_t config_seq;   /* the last change of the membership */
	uint64_t leave_ns; /* since when it tries to give the role away */
	bool leads, serves, again, withheld, in_turn, leaving, no_room, promoted;
	struct group_copy *copy;
	struct group_install *install;
};

/* Entries that came with a message. */
struct group_entries {
	uint32_t n;
	const uint8_t *record[REPLICA_ENTRIES_MAX];
	size_t size[REPLICA_ENTRIES_MAX];
};

/* group.c */
int group_step(struct metad_group *g, struct replica_event *e, const struct group_entries *in);

/* group_conf.c */
int group_conf(struct metad_group *g);
struct replica_options group_options(const struct metad_group *g);
struct group_peer *group_peer(struct metad_group *g, uint64_t id);

/* group_disk.c */
int group_disk_open(struct metad_group *g, bool form);
int group_save_vote(struct metad_group *g);

/* group_role.c */
int group_serve(struct metad_group *g);
_Noreturn void group_again(struct metad_group *g);

/* group_link.c */
int group_links_new(struct metad_group *g);
void group_links_free(struct metad_group *g);
void group_links_flush(struct metad_group *g);

/* group_wire.c */
void group_send(struct metad_group *g, const struct replica_message *message);
/* -EBADMSG */
int group_receive(struct metad_group *g, const struct metad_conn *from, struct ff3_request *r);

/* group_admit.c */
void group_admit_tick(struct ff3_timer *t);

/* group_copy.c */
int group_copy_new(struct metad_group *g, uint64_t id);
void group_copied(struct metad_group *g, uint64_t id, const struct ff3_req_member_copied *q);
void group_copy_lost(struct metad_group *g, uint64_t id);
/* Called now and then. */
void group_copy_check(struct metad_group *g);
/* The log may not forget what comes behind this; UINT64_MAX: it may. */
uint64_t group_copy_seq(const struct metad_group *g, uint64_t *ret_id, uint64_t *ret_done,
			uint64_t *ret_size);

/* group_install.c */
void group_install(struct metad_group *g, uint64_t from, const struct ff3_req_member_copy *q,
		   const void *bytes, size_t len);
void group_install_view(const struct metad_group *g, uint64_t *ret_done, uint64_t *ret_size);
/* At start: a complete database that came takes its place. */
int group_install_finish(const char *dir);
