/* Tickets: who may come over a network, and as whom. Who has the cluster's key makes them: the administrator, for a
 * job (ff3fs ticket), and each daemon for itself, one for each hello. Clients carry theirs in the hello and do not
 * look inside.
 *
 * A ticket is one line of hexadecimal digits, in its file and in the hello: an encoded struct ff3_ticket and
 * HMAC-SHA256 over it. The key's file is one line, too: its 32 bytes. Whoever sees a ticket can use it until it
 * expires, so its file is its user's alone.
 *
 * All functions are thread-safe. */
#pragma once

#include "../wire/wire.h"

#define FF3_TICKET_KEY_SIZE 32u
#define FF3_TICKET_OWN_MS (10 * 60 * 1000u) /* how long one is good that a daemon makes for itself */

struct ff3_tickets {
	uint8_t key[FF3_TICKET_KEY_SIZE];
};

/* The key in file. -EPERM: it is not its owner's alone; -EBADMSG: not a key; or why it cannot be read. */
int ff3_tickets_load(const char *file, struct ff3_tickets *ret);
/* A new key into a new file of mode 0600. -EEXIST. */
int ff3_tickets_make_key(const char *file);
/* Signs one for the next hello of who has the key: root's. tickets: a struct ff3_tickets, or NULL: there is no key, and
 * ret is empty. Its length. */
int ff3_tickets_own(const void *tickets, char ret[FF3_TICKET_MAX + 1]);

/* Signs ticket, which has at most FF3_TICKET_GROUPS groups. */
void ff3_ticket_sign(const struct ff3_tickets *t, const struct ff3_ticket *ticket, char ret[FF3_TICKET_MAX + 1]);
/* What text says, without a look at who signed it; ret->groups lies in buf. How many bytes are signed; -EBADMSG. */
int ff3_ticket_decode(struct ff3_blob text, uint8_t buf[FF3_TICKET_MAX / 2], struct ff3_ticket *ret);
/* The same of one that is good at now_ms. -ENOKEY: there is none; -EKEYREJECTED: another key's, or none at all;
 * -EKEYEXPIRED. */
int ff3_ticket_verify(const struct ff3_tickets *t, struct ff3_blob text, uint64_t now_ms,
		      uint8_t buf[FF3_TICKET_MAX / 2], struct ff3_ticket *ret);
