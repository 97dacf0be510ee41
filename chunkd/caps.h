/* Who may have chunks exposed: metad's capabilities as a chunk daemon sees them.
 *
 * Threads: any; one lock, held for moments. */
#pragma once

#include "../common/net/cap.h"

struct chunkd_caps;

/* Caps from before now_ms are refused, since nobody knows whether they were revoked. */
int chunkd_caps_new(uint64_t now_ms, struct chunkd_caps **ret);
void chunkd_caps_free(struct chunkd_caps *caps);
/* From metad's answers. */
void chunkd_caps_set_keys(struct chunkd_caps *caps, const struct ff3_cap_keys *keys);
/* From now on caps for ino are refused that are older than generation. now_ms: milliseconds since 1970. */
void chunkd_caps_revoke(struct chunkd_caps *caps, uint64_t ino, uint64_t generation, uint64_t now_ms);
/* Who presents a capability. */
struct chunkd_bearer {
	uint64_t session;
	bool local; /* so that the others are true (conn_user.c) */
	uint32_t user;
	const uint32_t *groups;
	uint32_t n_groups;
};
/* 0, with what the cap allows, if it lets bearer do rights with ino now; else -EACCES. */
int chunkd_caps_check(struct chunkd_caps *caps, struct ff3_blob cap, uint64_t ino,
		      const struct chunkd_bearer *bearer, uint32_t rights, uint64_t now_ms, uint32_t *ret_rights);
