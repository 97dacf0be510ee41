/* The members of a group of daemons, of which one at a time serves, as if they were one peer: metad's
 * clients go through this, be it one address or a list.
 *
 * A call goes to the member that was taken for the primary last. One that cannot be reached, or answers
 * NOT_PRIMARY, is left for the one it names or else for the next of the list, before anything was carried
 * out; so that costs the caller no more than a list has members. A request that was sent and whose
 * connection broke is for the caller to send again.
 *
 * One that was stopped, or is behind a cut cable, breaks no connection. So a call that is not answered for
 * FF3_RPC_PATIENCE_NS asks: the member itself, by a ping, and then the others. If one of them serves, in a
 * later epoch, the old connections are cut, and the calls on them fail with -ECONNRESET.
 *
 * Threads, fork, signals: as rpc.h. */
#pragma once

#include "rpc.h"

#define FF3_RPC_PATIENCE_NS (700 * FF3_NSEC_PER_MSEC)
/* Members of the list, and those that others name. */
#define FF3_RPC_GROUP_MAX 16u

struct ff3_rpc_group;

/* list: "host:port", separated by commas or spaces. Identity and options as for a peer; what options.known
 * has is shared, if it is not NULL. -EINVAL: no such form. */
int ff3_rpc_group_new(const char *list, const struct ff3_rpc_identity *identity,
		      const struct ff3_rpc_options *options, struct ff3_rpc_group **ret);
/* No call may be outstanding. Accepts NULL. */
void ff3_rpc_group_free(struct ff3_rpc_group *g);

/* As ff3_rpc_start and ff3_rpc_call. ff3_rpc_group_wait: for one call that ff3_rpc_group_start started; it
 * is abandoned at the deadline. */
int ff3_rpc_group_start(struct ff3_rpc_group *g, struct ff3_rpc_call *call);
int ff3_rpc_group_wait(struct ff3_rpc_group *g, struct ff3_rpc_call *call, uint64_t deadline_ns);
int ff3_rpc_group_call(struct ff3_rpc_group *g, struct ff3_rpc_call *call, uint64_t deadline_ns);

/* The member that is taken for the primary. */
struct ff3_rpc_peer *ff3_rpc_group_peer(struct ff3_rpc_group *g);
/* Whether there is anybody else to ask. */
bool ff3_rpc_group_is_many(const struct ff3_rpc_group *g);
/* Asks member number i, of the list first, by a ping that is given up after within_ns. 0: it serves, and calls go to
 * it from now on; FF3_E_NOT_PRIMARY: it follows; -ENOENT: there is no such member, ret_address is untouched. The address
 * lives as long as the group. */
int ff3_rpc_group_ask(struct ff3_rpc_group *g, unsigned i, uint64_t within_ns, const char **ret_address);
/* What the members had in common so far: epoch, cluster, lease. */
const struct ff3_rpc_known *ff3_rpc_group_known(const struct ff3_rpc_group *g);
/* "HOST:PORT: why it was not taken; …" for people, of those that failed when they were last tried. */
void ff3_rpc_group_explain(const struct ff3_rpc_group *g, char *text, size_t size);

void ff3_rpc_group_after_fork(struct ff3_rpc_group *g, uint64_t session);
void ff3_rpc_group_set_user(struct ff3_rpc_group *g, const struct ff3_rpc_user *user);
