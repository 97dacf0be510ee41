/* Purpose: the hello of who connects to a target.
 *
 * Metad's commands (remove, truncate, revoke) are believed of the one primary there is: each says its epoch, and
 * once a later one was heard of, here or where we register, the former one is refused, also on the
 * connections that it has.
 *
 * Threads: the targets' and the one that registers; known.epoch only grows. */
#include "daemon.h"

/* Notes epoch. False: it is a former one. */
static bool believe(struct chunkd_daemon *d, uint64_t epoch)
{
	uint64_t known = atomic_load(&d->known.epoch);

	while (known < epoch)
		if (atomic_compare_exchange_weak(&d->known.epoch, &known, epoch))
			return true;
	return known == epoch;
}

int chunkd_greet(struct chunkd_target *target, struct chunkd_daemon *d, const struct ff3_req_hello *hello,
		 struct ff3_rep_hello *reply, void **ret_conn)
{
	bool metad = hello->role == FF3_ROLE_METAD;
	struct ff3_dec groups = ff3_dec_blob(hello->groups);
	uint32_t n_groups = 1 + hello->groups.len / 4;
	struct chunkd_conn *c;

	if (metad && !believe(d, hello->epoch))
		return FF3_E_NOT_PRIMARY;
	if (n_groups > 1 + FF3_GROUPS_MAX)
		return -EINVAL;
	c = malloc(sizeof *c + n_groups * sizeof c->groups[0]);
	if (!c)
		return -ENOMEM;
	*c = (struct chunkd_conn){ .target = target,
				   .daemon = d,
				   .session = hello->session,
				   .role = hello->role,
				   .user = hello->uid,
				   .epoch = metad ? hello->epoch : 0,
				   .n_groups = n_groups };
	c->groups[0] = hello->gid;
	for (uint32_t i = 1; i < n_groups; i++)
		ff3_get_u32(&groups, &c->groups[i]);
	*ret_conn = c;
	*reply = (struct ff3_rep_hello){ .cluster = d->cluster,
					 .instance = d->instance,
					 .node = d->node,
					 .software = FF3_STR("ff3fs-chunkd " PACKAGE_VERSION),
					 .epoch = atomic_load(&d->known.epoch) };
	return 0;
}
