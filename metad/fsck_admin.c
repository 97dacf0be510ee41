/* Purpose: fsck through the HTTP endpoint: POST begins one, GET tells how far it is and what was found,
 * DELETE ends it.
 * Threads: the HTTP server's; what fsck's thread changes is read under its lock. */
#include "admin.h"
#include "fsck.h"
#include "group.h"

#define PAGE 500u

static struct metad_fsck *fsck_of(void *ctx)
{
	return ((struct metad_admin *)ctx)->fsck;
}

static const char *type_name(uint64_t type)
{
	return type == 4 ? "directory" : type == 8 ? "file" : type == 10 ? "symbolic link" : "special file";
}

static void chunks_text(char *buf, size_t size, const struct metad_finding *f, const char *what)
{
	if (f->n == 1)
		snprintf(buf, size, "chunk %" PRIu32 " on target %016" PRIx64 " %s", f->first, f->target,
			 what);
	else
		snprintf(buf, size, "%" PRIu64 " chunks, %" PRIu32 " to %" PRIu32 ", on target %016" PRIx64
				    " %s", f->n, f->first, f->last, f->target, what);
}

/* What is wrong, for a person. */
static void finding_text(char *buf, size_t size, const struct metad_finding *f)
{
	switch (f->kind) {
	case METAD_F_DANGLING:
		snprintf(buf, size, "\"%.*s\" in directory %" PRIu64 " names an inode that does not exist",
			 (int)f->name_len, f->name, f->parent);
		break;
	case METAD_F_TYPE:
		snprintf(buf, size, "\"%.*s\" in directory %" PRIu64 " says %s, but it is a %s",
			 (int)f->name_len, f->name, f->parent, type_name(f->have), type_name(f->want));
		break;
	case METAD_F_LINKS:
		snprintf(buf, size, "link count %" PRIu64 ", should be %" PRIu64, f->have, f->want);
		break;
	case METAD_F_PARENT:
		snprintf(buf, size, "directory says its parent is %" PRIu64 ", but its name is in %" PRIu64,
			 f->have, f->parent);
		break;
	case METAD_F_NO_NAME:
		snprintf(buf, size, "no name, and no entry among the files without one");
		break;
	case METAD_F_NO_DIRECTORY:
		snprintf(buf, size, "%" PRIu64 " names in it, but it is no directory", f->n);
		break;
	case METAD_F_UNREACHABLE:
		snprintf(buf, size, "directory is not below the root");
		break;
	case METAD_F_NAMES:
		snprintf(buf, size, "directory has more than one name");
		break;
	case METAD_F_ORPHAN_ROW:
	case METAD_F_TREE_ROW:
	case METAD_F_TRUNCATION_ROW:
		snprintf(buf, size, "is to be cleaned up, but does not exist");
		break;
	case METAD_F_GARBAGE_ROW:
		snprintf(buf, size, "its chunks are to be removed, but it exists");
		break;
	case METAD_F_STRAY:
		snprintf(buf, size, "a link target or xattrs of an inode that does not exist");
		break;
	case METAD_F_NO_TARGET:
		snprintf(buf, size, "symbolic link without a target");
		break;
	case METAD_F_STRIPE:
		snprintf(buf, size, "file whose chains are not known");
		break;
	case METAD_F_INODES:
		snprintf(buf, size, "%" PRIu64 " inodes counted, but there are %" PRIu64, f->have, f->want);
		break;
	case METAD_F_NEXT_INO:
		snprintf(buf, size, "the next inode number is %" PRIu64 ", but %" PRIu64 " is in use",
			 f->have, f->want - 1);
		break;
	case METAD_F_ORPHAN_CHUNKS:
		chunks_text(buf, size, f, "of an inode that does not exist");
		break;
	case METAD_F_BEYOND_END:
		chunks_text(buf, size, f, "beyond the end of the file");
		break;
	case METAD_F_MISPLACED:
		chunks_text(buf, size, f, "which is not where the layout has it");
		break;
	case METAD_F_BAD_LENGTH:
		chunks_text(buf, size, f, "longer than a chunk may be");
		break;
	default:
		if (f->n > 1) {
			snprintf(buf, size, "%" PRIu64 " chunks, %" PRIu32 " to %" PRIu32 ", missing or "
					    "short: their bytes read as zeros", f->n, f->first, f->last);
			break;
		}
		chunks_text(buf, size, f, "missing or short: its bytes read as zeros");
	}
}

static json_t *finding_json(const struct fsck_item *item)
{
	char text[512];
	const char *fate = item->repaired ? metad_finding_fate(item->f.kind) : NULL;

	finding_text(text, sizeof text, &item->f);
	return json_pack("{s:s, s:I, s:o, s:o, s:b, s:o}", "kind", metad_finding_word(item->f.kind), "ino",
			 (json_int_t)item->f.ino, "path",
			 *item->path ? ff3_json_bytes(item->path, strlen(item->path)) : json_null(), "text",
			 ff3_json_bytes(text, strlen(text)), "repaired", item->repaired, "repair",
			 fate ? json_string(fate) : json_null());
}

static json_t *status_json(struct metad_fsck *f, uint64_t from)
{
	static const char *const names[] = { "idle", "running", "done", "failed" };
	json_t *items = json_array(), *away = json_array(), *doc;

	pthread_mutex_lock(&f->lock);
	for (uint64_t i = from; i < f->n_items && i < from + PAGE; i++)
		json_array_append_new(items, finding_json(&f->items[i]));
	for (size_t i = 0; f->state == FSCK_DONE && i < f->n_targets; i++)
		if (!f->targets[i].complete)
			json_array_append_new(away, metad_admin_hex(f->targets[i].id));
	doc = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o}", "state", names[f->state],
			"phase", f->phase, "done", (json_int_t)f->done, "total", (json_int_t)f->total,
			"found", (json_int_t)f->n_found, "repaired", (json_int_t)f->n_repaired, "repair",
			f->repair, "items", items, "next",
			from + PAGE < f->n_items ? json_integer((json_int_t)(from + PAGE)) : json_null(),
			"targets_away", away);
	if (f->state == FSCK_FAILED)
		json_object_set_new(doc, "error", json_string(strerror(-f->error)));
	pthread_mutex_unlock(&f->lock);
	return doc;
}

int metad_admin_fsck_status(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	const char *from = ff3_http_query(request, "from");

	*ret = status_json(fsck_of(ctx), from ? strtoull(from, NULL, 10) : 0);
	return 200;
}

int metad_admin_fsck_begin(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	bool repair = json_is_true(json_object_get(request->body, "repair"));
	int r;

	if (!metad_group_serves(((struct metad_admin *)ctx)->m))
		return ff3_http_problem(ret, 409, "NOT_PRIMARY", "ask the primary: GET /v1/metad/members",
					"this member does not serve");
	r = metad_fsck_begin(fsck_of(ctx), repair);

	if (r == -EBUSY)
		return ff3_http_problem(ret, 409, "EBUSY", "DELETE /v1/fsck ends it",
					"a check is under way already");
	if (r < 0)
		return ff3_http_problem_errno(ret, r, "fsck");
	*ret = status_json(fsck_of(ctx), 0);
	return 202;
}

int metad_admin_fsck_cancel(void *ctx, const struct ff3_http_request *request, json_t **ret)
{
	metad_fsck_cancel(fsck_of(ctx));
	*ret = status_json(fsck_of(ctx), 0);
	return 200;
}
