/* What a member of a metadata group must not forget between two steps: which log is its own, the epoch
 * it is in and whom it voted for, and that its log was damaged. A witness, which has no database, also
 * keeps here what its log begins behind. */
#pragma once

#include "replica.h"

struct metad_vote {
	uint64_t id, log_id;
	uint64_t epoch, vote;
	uint64_t damaged; /* as replica_disk has it */
	/* A witness's. base_seq 0: it has nothing yet. */
	uint64_t cluster, log_key;
	uint64_t base_seq, base_epoch, base_hash;
	struct replica_config base_config;
};

/* -ENOENT; -EBADMSG: it is damaged. */
int metad_vote_load(const char *dir, struct metad_vote *ret);
/* On return it is on disk. */
int metad_vote_save(const char *dir, const struct metad_vote *v);
