/* Purpose: ff3fs-admin fsck: begins a check at metad, shows how far it is, tells what was found, and
 * exits as fsck(8) does.
 * Threads: one. */
#include "admin.h"
#include "cli.h"
#include "progress.h"

#define FSCK "/v1/fsck"

/* As fsck(8). */
enum { FSCK_CLEAN = 0, FSCK_REPAIRED = 1, FSCK_LEFT = 4, FSCK_ERROR = 8, FSCK_USAGE = 16 };

static uint64_t number(const json_t *doc, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(doc, key));
}

static const char *text(const json_t *doc, const char *key)
{
	const char *s = json_string_value(json_object_get(doc, key));

	return s ? s : "";
}

static int await(const char *address, json_t **ret)
{
	struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	struct progress bar = { .label = "fsck" };
	json_t *doc;
	int r;

	progress_start(&bar, !cli.quiet);
	for (;;) {
		r = admin_get(address, FSCK, &doc);
		if (r || strcmp(text(doc, "state"), "running") != 0)
			break;
		bar.files = number(doc, "done");
		bar.total_files = number(doc, "total");
		json_decref(doc);
		nanosleep(&pause, NULL);
		pause.tv_nsec = MIN(2 * pause.tv_nsec, 200 * 1000 * 1000L);
	}
	progress_stop();
	*ret = doc;
	return r;
}

static void print_finding(const json_t *f)
{
	const char *path = json_string_value(json_object_get(f, "path"));

	printf("%s: inode %" PRIu64 "%s%s: %s", text(f, "kind"), number(f, "ino"), path ? " " : "",
	       path ? path : "", text(f, "text"));
	if (json_is_true(json_object_get(f, "repaired")))
		printf(": repaired, %s", text(f, "repair"));
	putchar('\n');
}

/* All pages, in one document. doc: the first. */
static int gather(const char *address, json_t *doc)
{
	json_t *next = json_incref(json_object_get(doc, "next")), *page;
	char path[64];

	while (json_is_integer(next)) {
		snprintf(path, sizeof path, FSCK "?from=%" JSON_INTEGER_FORMAT, json_integer_value(next));
		json_decref(next);
		if (admin_get(address, path, &page))
			return FSCK_ERROR;
		json_array_extend(json_object_get(doc, "items"), json_object_get(page, "items"));
		next = json_incref(json_object_get(page, "next"));
		json_decref(page);
	}
	json_decref(next);
	json_object_set_new(doc, "next", json_null());
	return 0;
}

static int tell(json_t *doc)
{
	const json_t *item, *away = json_object_get(doc, "targets_away");
	uint64_t found = number(doc, "found"), repaired = number(doc, "repaired");
	int code = found > repaired ? FSCK_LEFT : repaired ? FSCK_REPAIRED : FSCK_CLEAN;
	size_t i, n = json_array_size(json_object_get(doc, "items"));

	if (json_array_size(away) > 0)
		code |= FSCK_ERROR;
	if (cli.json) {
		cli_print_json(json_incref(doc));
		return code;
	}
	json_array_foreach(json_object_get(doc, "items"), i, item)
		print_finding(item);
	if (found > n)
		printf("and %" PRIu64 " more\n", found - n);
	json_array_foreach(away, i, item)
		cli_message("target %s does not answer: its chunks were not looked at",
			    json_string_value(item));
	if (found == 0)
		cli_note("nothing is wrong");
	else
		cli_note("%" PRIu64 " found, %" PRIu64 " repaired", found, repaired);
	return code;
}

int admin_fsck(const char *address, bool repair)
{
	json_t *doc;
	int r = admin_post(address, FSCK, json_pack("{s:b}", "repair", repair), &doc);

	if (r)
		return FSCK_ERROR;
	json_decref(doc);
	if (await(address, &doc))
		return FSCK_ERROR;
	if (strcmp(text(doc, "state"), "done") != 0) {
		cli_message("the check failed: %s", text(doc, "error"));
		json_decref(doc);
		return FSCK_ERROR;
	}
	r = gather(address, doc);
	if (r == 0)
		r = tell(doc);
	json_decref(doc);
	return r;
}
