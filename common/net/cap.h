/* Capabilities: what metad lets an open file's session do with its chunks, signed so that a chunk
 * daemon can tell without asking. On the wire: an encoded struct ff3_cap and HMAC-SHA256 over it.
 * Daemons only; clients carry them and know nothing of what is inside.
 *
 * All functions are thread-safe. */
#pragma once

#include "../wire/wire.h"

#define FF3_CAP_KEY_SIZE 32u
/* A key signs as long, and stays good as long again. */
#define FF3_CAP_LIFETIME_MS (3600u * 1000u)

struct ff3_cap_secret {
	uint32_t id; /* 0: none */
	uint8_t key[FF3_CAP_KEY_SIZE];
};

/* The key that signs, and the one before, whose caps are still about. */
struct ff3_cap_keys {
	struct ff3_cap_secret current, previous;
};

/* A fresh key with the next id. 0 or -errno; the old ones stay as they are then. */
int ff3_cap_keys_rotate(struct ff3_cap_keys *keys);
/* As the packed cap_key structs of the wire, which point into keys. Returns the length. */
size_t ff3_cap_keys_encode(const struct ff3_cap_keys *keys, void *buf, size_t size);
#define FF3_CAP_KEYS_MAX 128u /* of that */
int ff3_cap_keys_decode(struct ff3_blob keys, struct ff3_cap_keys *ret);

/* Signs cap, whose key is set here, into buf; returns the length. */
size_t ff3_cap_sign(const struct ff3_cap_secret *secret, struct ff3_cap *cap,
		    uint8_t buf[FF3_CAP_MAX]);
/* 0 if one of the keys signed it and it has not expired at now_ms; else -EACCES. */
int ff3_cap_verify(const struct ff3_cap_keys *keys, struct ff3_blob blob, uint64_t now_ms,
		   struct ff3_cap *ret);
