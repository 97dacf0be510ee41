/* Purpose: see ticket.h. */
#include "ticket.h"

#include <fcntl.h>
#include <nettle/base16.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "ticket_file.h"

#define MAC_SIZE SHA256_DIGEST_SIZE

/* How many bytes text is, of at most size; or -EBADMSG. Spaces, which base16.h passes over, are no digits. */
static int from_hex(struct ff3_blob text, uint8_t *ret, size_t size)
{
	struct base16_decode_ctx ctx;
	size_t len = size;

	base16_decode_init(&ctx);
	if (text.len > 2 * size || text.len % 2 != 0 || !base16_decode_update(&ctx, &len, ret, text.len, (const char *)text.p) ||
	    !base16_decode_final(&ctx) || 2 * len != text.len)
		return -EBADMSG;
	return (int)len;
}

static void mac_of(const struct ff3_tickets *t, const uint8_t *p, size_t len, uint8_t ret[MAC_SIZE])
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, sizeof t->key, t->key);
	hmac_sha256_update(&ctx, len, p);
	hmac_sha256_digest(&ctx, MAC_SIZE, ret);
}

int ff3_tickets_load(const char *file, struct ff3_tickets *ret)
{
	uint8_t key[FF3_TICKET_KEY_SIZE];
	char text[FF3_TICKET_MAX + 1];
	struct stat st;
	int r = ff3_ticket_read(file, text);

	if (r < 0)
		return r;
	if (stat(file, &st) < 0)
		return -errno;
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return -EPERM;
	if (from_hex((struct ff3_blob){ text, (uint32_t)r }, key, sizeof key) != (int)sizeof key)
		return -EBADMSG;
	memcpy(ret->key, key, sizeof key);
	return 0;
}

int ff3_tickets_make_key(const char *file)
{
	_cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char text[BASE16_ENCODE_LENGTH(FF3_TICKET_KEY_SIZE) + 1];
	uint8_t key[FF3_TICKET_KEY_SIZE];
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
		return -errno;
	base16_encode_update(text, sizeof key, key);
	text[sizeof text - 1] = '\n';
	n = write(fd, text, sizeof text);
	if (n == (ssize_t)sizeof text && fsync(fd) == 0)
		return 0;
	n = n < 0 || n == (ssize_t)sizeof text ? -errno : -ENOSPC;
	unlink(file);
	return (int)n;
}

int ff3_tickets_own(const void *tickets, char ret[FF3_TICKET_MAX + 1])
{
	const struct ff3_ticket own = { .expires = ff3_realtime_ns() / FF3_NSEC_PER_MSEC + FF3_TICKET_OWN_MS };

	ret[0] = '\0';
	if (tickets)
		ff3_ticket_sign(tickets, &own, ret);
	return (int)strlen(ret);
}

void ff3_ticket_sign(const struct ff3_tickets *t, const struct ff3_ticket *ticket, char ret[FF3_TICKET_MAX + 1])
{
	uint8_t buf[FF3_TICKET_MAX / 2];
	struct ff3_enc e = ff3_enc_init(buf, sizeof buf - MAC_SIZE);

	ff3_put_ticket(&e, ticket);
	mac_of(t, buf, e.len, buf + e.len);
	base16_encode_update(ret, e.len + MAC_SIZE, buf);
	ret[2 * (e.len + MAC_SIZE)] = '\0';
}

int ff3_ticket_decode(struct ff3_blob text, uint8_t buf[FF3_TICKET_MAX / 2], struct ff3_ticket *ret)
{
	int len = from_hex(text, buf, FF3_TICKET_MAX / 2);
	struct ff3_ticket ticket;
	struct ff3_dec d;

	if (len < 0)
		return len;
	d = ff3_dec_init(buf, (size_t)len);
	ff3_get_ticket(&d, &ticket);
	if (d.bad || d.end - d.p != MAC_SIZE || ticket.groups.len % 4 != 0)
		return -EBADMSG;
	*ret = ticket;
	return (int)(d.p - buf);
}

int ff3_ticket_verify(const struct ff3_tickets *t, struct ff3_blob text, uint64_t now_ms,
		      uint8_t buf[FF3_TICKET_MAX / 2], struct ff3_ticket *ret)
{
	struct ff3_ticket ticket;
	uint8_t mac[MAC_SIZE];
	int len = ff3_ticket_decode(text, buf, &ticket);

	if (text.len == 0)
		return -ENOKEY;
	if (len < 0)
		return -EKEYREJECTED;
	mac_of(t, buf, (size_t)len, mac);
	if (!memeql_sec(mac, buf + len, MAC_SIZE))
		return -EKEYREJECTED;
	if (now_ms >= ticket.expires)
		return -EKEYEXPIRED;
	*ret = ticket;
	return 0;
}
