/* Purpose: /v1/metad/members: who is in the group, and changes of that. Any member tells what it
 * knows; only the primary changes it (promote excepted, which is for when there is none).
 * Threads: as metad_admin.c. */
#include "../common/admin/loop_call.h"
#include "admin.h"

#define ROLE_ALONE "alone"
#define SETTLE_MS 2000u

static void take_view(void *arg)
{
	struct metad_admin_view *v = arg;

	metad_group_view(v->m, &v->view);
}

int metad_admin_view(struct metad_admin *admin, struct metad_admin_view *ret)
{
	ret->m = admin->m;
	return ff3_loop_call(admin->m->loop, take_view, ret, ADMIN_TIMEOUT_MS);
}

const char *metad_admin_role(const struct metad_group_view *v)
{
	if (v->alone)
		return ROLE_ALONE;
	return v->replica.role == REPLICA_PRIMARY ? "primary" : v->witness ? "witness" : "follower";
}

int metad_admin_not_primary(struct metad_admin *admin, json_t **ret)
{
	struct metad_admin_view *v = malloc(sizeof *v);
	int r = v ? metad_admin_view(admin, v) : -ENOMEM;

	if (r < 0)
		ff3_http_problem_errno(ret, r, "the group");
	else
		ff3_http_problem(ret, 409, "NOT_PRIMARY",
				 *v->view.primary ? "ask the primary" : "there is none at present",
				 "this metadata server does not serve; the primary is %s",
				 *v->view.primary ? v->view.primary : "not known");
	if (r >= 0 && *ret)
		json_object_set_new(*ret, "primary", json_string(v->view.primary));
	free(v);
	return r < 0 ? 503 : 409;
}

static json_t *integer(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *describe(const struct metad_group_view *v, const struct metad_group_member *m)
{
	bool primary = m->id == v->replica.primary;
	const char *state = m->log_id == 0	       ? "outside" :
			    m->here_log_id != 0 && m->here_log_id != m->log_id ? "replaced" :
			    m->voter		       ? "voter" :
							 "learner";
	json_t *o = json_pack("{s:o, s:s, s:s, s:b, s:b, s:b}", "id", integer(m->id), "address", m->address,
			      "state", state, "witness", m->witness, "primary", primary, "connected",
			      m->connected);

	json_object_set_new(o, "log_id", metad_admin_hex(m->log_id));
	json_object_set_new(o, "match_seq", integer(m->match_seq));
	json_object_set_new(o, "heard_ms", m->heard_ms == UINT64_MAX ? json_null() : integer(m->heard_ms));
	if (m->copy_size > 0) {
		json_object_set_new(o, "copied", integer(m->copied));
		json_object_set_new(o, "copy_size", integer(m->copy_size));
	}
	return o;
}

int metad_admin_members(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	struct metad_admin_view *v = malloc(sizeof *v);
	int r = v ? metad_admin_view(ctx, v) : -ENOMEM;
	json_t *list, *doc;

	if (r < 0) {
		free(v);
		return ff3_http_problem_errno(ret, r, "the group");
	}
	list = json_array();
	for (uint32_t i = 0; i < v->view.n; i++)
		json_array_append_new(list, describe(&v->view, &v->view.member[i]));
	doc = json_pack("{s:o, s:n, s:s, s:o, s:s}", "items", list, "next", "role",
			metad_admin_role(&v->view), "member", integer(v->view.replica.id), "primary",
			v->view.primary);
	json_object_set_new(doc, "epoch", integer(v->view.replica.epoch));
	json_object_set_new(doc, "last_seq", integer(v->view.replica.last_seq));
	json_object_set_new(doc, "durable_seq", integer(v->view.replica.durable_seq));
	json_object_set_new(doc, "commit_seq", integer(v->view.replica.commit_seq));
	json_object_set_new(doc, "applied_seq", integer(v->view.replica.applied_seq));
	json_object_set_new(doc, "serving", json_boolean(v->view.serving));
	json_object_set_new(doc, "damaged", json_boolean(v->view.replica.damaged));
	if (v->view.copy_size > 0) {
		json_object_set_new(doc, "copied", integer(v->view.copied));
		json_object_set_new(doc, "copy_size", integer(v->view.copy_size));
	}
	free(v);
	*ret = doc;
	return 200;
}

/* --- Changes --------------------------------------------------------------------------------- */

struct change {
	struct metad *m;
	enum metad_group_change change;
	uint64_t id;
	int result;
	uint64_t kept_seq;
};

static void make_change(void *arg)
{
	struct change *c = arg;

	c->kept_seq = c->m->log ? metad_log_durable_seq(c->m->log) : 0;
	c->result = metad_group_change(c->m, c->change, c->id);
}

static int answer(struct metad_admin *admin, const struct change *c, json_t **ret)
{
	switch (c->result) {
	case 0:
		*ret = json_pack("{s:s, s:o}", "status", "ok", "id", integer(c->id));
		if (c->change == METAD_GROUP_PROMOTE)
			json_object_set_new(*ret, "kept_seq", integer(c->kept_seq));
		return 200;
	case -EPERM:
		return metad_admin_not_primary(admin, ret);
	case -EBUSY:
		return ff3_http_problem(ret, 409, "EBUSY", "try again", "another change is under way");
	case -ENOENT:
		return ff3_http_problem(ret, 404, "ENOENT", NULL, "there is no member %" PRIu64, c->id);
	case -ENOTCONN:
		return ff3_http_problem(ret, 409, "ENOTCONN", "start it", "member %" PRIu64
					" is not connected", c->id);
	case -EEXIST:
		return ff3_http_problem(ret, 409, "EEXIST", "hand over instead", "there is a primary");
	case -EINPROGRESS:
		return ff3_http_problem(ret, 503, "EINPROGRESS", "look at the members",
					"it was begun, and is not committed yet");
	case -EALREADY:
		return ff3_http_problem(ret, 409, "EALREADY", NULL, "member %" PRIu64 " is in the group",
					c->id);
	case -EOPNOTSUPP:
		return ff3_http_problem(ret, 409, "EOPNOTSUPP", "set [metad] group",
					"this metadata server is alone");
	}
	return ff3_http_problem_errno(ret, c->result, "the group");
}

static void look_whether_settled(void *arg)
{
	struct change *c = arg;

	c->result = metad_group_is_settled(c->m) ? 0 : -EINPROGRESS;
}

static int settle(struct change *c)
{
	int r = 0;

	for (unsigned i = 0; i < SETTLE_MS / 5; i++) {
		r = ff3_loop_call(c->m->loop, look_whether_settled, c, ADMIN_TIMEOUT_MS);
		if (r < 0 || c->result == 0)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 5 * 1000 * 1000 }, NULL);
	}
	return r;
}

static int change(struct metad_admin *admin, enum metad_group_change what, uint64_t id, json_t **ret)
{
	struct change c = { .m = admin->m, .change = what, .id = id };
	int r = ff3_loop_call(admin->m->loop, make_change, &c, ADMIN_TIMEOUT_MS);

	if (r >= 0 && c.result == 0 && (what == METAD_GROUP_ADMIT || what == METAD_GROUP_REMOVE))
		r = settle(&c);
	return r < 0 ? ff3_http_problem_errno(ret, r, "the group") : answer(admin, &c, ret);
}

static void tell_answered(void *arg)
{
	metad_group_answered(arg);
}

/* It may cost the process image: not before the answer is out. */
static void answered(void *ctx)
{
	struct metad *m = ((struct metad_admin *)ctx)->m;

	ff3_loop_call(m->loop, tell_answered, m, ADMIN_TIMEOUT_MS);
}

/* POST /v1/metad/members/ID/admit and …/ID/remove. */
int metad_admin_member(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	char *end;
	uint64_t id = strtoull(request->rest, &end, 10);

	if (id != 0 && strcmp(end, "/admit") == 0)
		return change(ctx, METAD_GROUP_ADMIT, id, ret);
	if (id != 0 && strcmp(end, "/remove") == 0)
		return change(ctx, METAD_GROUP_REMOVE, id, ret);
	return ff3_http_problem(ret, 404, "ENOENT", NULL, "no such thing to do with a member");
}

/* POST /v1/metad/hand-over, or …/hand-over/ID. */
int metad_admin_hand_over(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	char *end;
	uint64_t id = strtoull(request->rest, &end, 10);

	if (*end)
		return ff3_http_problem(ret, 404, "ENOENT", NULL, "no such member");
	*request->after = answered;
	return change(ctx, METAD_GROUP_HAND_OVER, id, ret);
}

int metad_admin_promote(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	*request->after = answered;
	return change(ctx, METAD_GROUP_PROMOTE, 0, ret);
}
