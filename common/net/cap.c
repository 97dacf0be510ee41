/* Purpose: see cap.h. */
#include "cap.h"

#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <sys/random.h>

#define MAC_SIZE SHA256_DIGEST_SIZE

int ff3_cap_keys_rotate(struct ff3_cap_keys *keys)
{
	struct ff3_cap_secret next;

	if (getrandom(next.key, sizeof next.key, 0) != (ssize_t)sizeof next.key)
		return -errno;
	/* After a restart too, an id is hardly ever that of another key. */
	next.id = keys->current.id ? keys->current.id + 1 : (uint32_t)ff3_random_u64();
	if (next.id == 0)
		next.id = 1;
	keys->previous = keys->current;
	keys->current = next;
	return 0;
}

size_t ff3_cap_keys_encode(const struct ff3_cap_keys *keys, void *buf, size_t size)
{
	const struct ff3_cap_secret *all[] = { &keys->current, &keys->previous };
	struct ff3_enc e = ff3_enc_init(buf, size);

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct ff3_cap_key k = { all[i]->id, { all[i]->key, sizeof all[i]->key } };

		if (all[i]->id)
			ff3_put_cap_key(&e, &k);
	}
	return e.len;
}

int ff3_cap_keys_decode(struct ff3_blob blob, struct ff3_cap_keys *ret)
{
	struct ff3_dec d = ff3_dec_blob(blob);
	struct ff3_cap_keys keys = { 0 };
	struct ff3_cap_secret *next = &keys.current;

	while (ff3_dec_more(&d)) {
		struct ff3_cap_key k;

		ff3_get_cap_key(&d, &k);
		if (d.bad || k.key.len != sizeof next->key || next > &keys.previous)
			return -EBADMSG;
		next->id = k.id;
		memcpy(next->key, k.key.p, sizeof next->key);
		next = next == &keys.current ? &keys.previous : &keys.previous + 1;
	}
	if (d.bad)
		return -EBADMSG;
	*ret = keys;
	return 0;
}

/* To begin with a key is half of the work, and nearly always it is the last one: after a digest, nettle has it
 * ready again. */
static void mac_of(const struct ff3_cap_secret *secret, const void *data, size_t len,
		   uint8_t ret[MAC_SIZE])
{
	static _Thread_local struct hmac_sha256_ctx ctx;
	static _Thread_local uint8_t key[sizeof secret->key];
	static _Thread_local bool set;

	if (!set || memcmp(key, secret->key, sizeof key) != 0) {
		hmac_sha256_set_key(&ctx, sizeof secret->key, secret->key);
		memcpy(key, secret->key, sizeof key);
		set = true;
	}
	hmac_sha256_update(&ctx, len, data);
	hmac_sha256_digest(&ctx, MAC_SIZE, ret);
}

size_t ff3_cap_sign(const struct ff3_cap_secret *secret, struct ff3_cap *cap,
		    uint8_t buf[FF3_CAP_MAX])
{
	struct ff3_enc e = ff3_enc_init(buf, FF3_CAP_MAX - MAC_SIZE);

	cap->key = secret->id;
	ff3_put_cap(&e, cap);
	mac_of(secret, buf, e.len, buf + e.len);
	return e.len + MAC_SIZE;
}

int ff3_cap_verify(const struct ff3_cap_keys *keys, struct ff3_blob blob, uint64_t now_ms,
		   struct ff3_cap *ret)
{
	struct ff3_dec d = ff3_dec_blob(blob);
	const struct ff3_cap_secret *secret;
	uint8_t mac[MAC_SIZE];
	struct ff3_cap cap;

	ff3_get_cap(&d, &cap);
	if (d.bad || d.end - d.p != MAC_SIZE || cap.key == 0)
		return -EACCES;
	secret = cap.key == keys->current.id  ? &keys->current :
		 cap.key == keys->previous.id ? &keys->previous :
						NULL;
	if (!secret)
		return -EACCES;
	mac_of(secret, blob.p, blob.len - MAC_SIZE, mac);
	if (!memeql_sec(mac, d.p, MAC_SIZE) || now_ms >= cap.expires)
		return -EACCES;
	*ret = cap;
	return 0;
}
