/* Purpose: ff3fs-admin metad …: the group of metadata servers and changes of it. Changes are asked of
 * the member whose endpoint --admin names; one that is not the primary says who is.
 * Threads: one. */
#include "../common/base/base.h"
#include "admin.h"
#include "cli.h"

static const char *text(const json_t *doc, const char *key)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s ? s : "-";
}

static uint64_t number(const json_t *doc, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(doc, key));
}

static bool is_set(const json_t *doc, const char *key)
{
	return json_is_true(json_object_get(doc, key));
}

static void print_copy(const json_t *m, const char *to)
{
	char buf[2][32];

	if (number(m, "copy_size") > 0)
		printf("    copy of the database%s: %s of %s\n", to, cli_size(buf[0], number(m, "copied")),
		       cli_size(buf[1], number(m, "copy_size")));
}

static void print_member(const json_t *m)
{
	bool primary = is_set(m, "primary");

	printf("%s %-3" PRIu64 " %-21s %-8s %s%s%s", is_set(m, "connected") ? "✓" : "✗", number(m, "id"),
	       text(m, "address"), text(m, "state"), primary ? "primary" : "",
	       is_set(m, "witness") ? "witness" : "", is_set(m, "connected") ? "" : "  not connected");
	if (number(m, "match_seq") > 0)
		printf("  log up to %" PRIu64, number(m, "match_seq"));
	putchar('\n');
	print_copy(m, " to it");
}

static void print_members(const json_t *doc)
{
	const json_t *m;
	size_t i;

	printf("member %" PRIu64 ", %s, epoch %" PRIu64 ", committed %" PRIu64 "%s\n", number(doc, "member"),
	       text(doc, "role"), number(doc, "epoch"), number(doc, "commit_seq"),
	       is_set(doc, "damaged") ? ", its log is damaged: no vote" : "");
	print_copy(doc, " to this member");
	json_array_foreach(json_object_get(doc, "items"), i, m)
		print_member(m);
}

int admin_members(const char *address)
{
	json_t *doc;
	int r = admin_get(address, "/v1/metad/members", &doc);

	if (r)
		return r;
	if (cli.json)
		cli_print_json(json_incref(doc));
	else
		print_members(doc);
	json_decref(doc);
	return CLI_OK;
}

static int change(const char *address, const char *path, const char *done)
{
	json_t *doc;
	int r = admin_post(address, path, NULL, &doc);

	if (r)
		return r;
	if (cli.json) {
		cli_print_json(doc);
		return CLI_OK;
	}
	if (json_object_get(doc, "kept_seq"))
		cli_note("%s: operations up to %" PRIu64 " are kept; what others acknowledged behind it is lost",
			 done, number(doc, "kept_seq"));
	else
		cli_note("%s", done);
	json_decref(doc);
	return CLI_OK;
}

static int change_member(const char *address, const char *id, const char *what, const char *done)
{
	_cleanup_free_ char *path = NULL;

	if (!*id || id[strspn(id, "0123456789")]) {
		cli_message("%s: '%s' is no ID", what, id);
		return CLI_USAGE;
	}
	if (asprintf(&path, "/v1/metad/members/%s/%s", id, what) < 0)
		return cli_local_error(id, -ENOMEM);
	return change(address, path, done);
}

int admin_admit(const char *address, const char *id)
{
	return change_member(address, id, "admit", "it is taken in, and votes when it has caught up");
}

int admin_remove(const char *address, const char *id)
{
	return change_member(address, id, "remove", "it is out");
}

int admin_hand_over(const char *address, const char *id)
{
	_cleanup_free_ char *path = NULL;

	if (id && id[strspn(id, "0123456789")]) {
		cli_message("hand-over: '%s' is no ID", id);
		return CLI_USAGE;
	}
	if (asprintf(&path, "/v1/metad/hand-over%s%s", id ? "/" : "", id ? id : "") < 0)
		return cli_local_error("hand-over", -ENOMEM);
	return change(address, path, "the role is being handed over");
}

int admin_promote(const char *address)
{
	return change(address, "/v1/metad/promote", "this member alone is the group now");
}
