/* Purpose: ff3fs stat. One block of text, or one JSON document, a path. */
#include "cli.h"
#include "commands.h"

static bool dereference;

static const struct argp_option options[] = {
	{ "dereference", 'L', NULL, 0, "follow symbolic links", 1 },
	{ 0 },
};

static int on_option(int key, char *arg, struct argp_state *state)
{
	return key == 'L' ? (dereference = true, 0) : ARGP_ERR_UNKNOWN;
}

static const struct cli_command command = {
	.name = "ff3fs stat",
	.args = "PATH...",
	.doc = "Show what is known of files of ff3fs.",
	.common = CLI_JSON | CLI_QUIET | CLI_BYTES | CLI_CLUSTER,
	.options = options,
	.option = on_option,
	.min_args = 1,
	.max_args = -1,
};

static void print_time(const char *name, struct timespec t)
{
	char text[64];
	struct tm tm;

	if (!localtime_r(&t.tv_sec, &tm))
		return;
	strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	printf("  %-9s %s.%09ld\n", name, text, t.tv_nsec);
}

static void print_text(const char *path, const struct ff3fs_attr *a, const char *target,
		       const struct ff3fs_layout *l)
{
	char size[32], chunk[32];

	printf("%s%s%s\n", path, *target ? " -> " : "", target);
	printf("  %-9s %s\n  %-9s %s\n", "type", cli_type_name(a->mode), "size",
	       cli_size(size, a->size));
	printf("  %-9s %04o\n  %-9s %u:%u\n", "mode", a->mode & 07777, "owner", a->uid, a->gid);
	printf("  %-9s %" PRIu64 "\n  %-9s %u\n", "inode", a->ino, "links", a->nlink);
	if (l) {
		printf("  %-9s %s chunks on chain%s", "layout", cli_size(chunk, l->chunk_size),
		       l->n_stripe == 1 ? "" : "s");
		for (uint32_t i = 0; i < l->n_stripe; i++)
			printf(" %u", l->chains[i]);
		putchar('\n');
	}
	print_time("modified", a->mtime);
	print_time("changed", a->ctime);
	print_time("accessed", a->atime);
	print_time("born", a->btime);
}

static json_t *layout_json(const struct ff3fs_layout *l)
{
	json_t *chains = json_array();

	for (uint32_t i = 0; i < l->n_stripe; i++)
		json_array_append_new(chains, json_integer(l->chains[i]));
	return json_pack("{s:I, s:I, s:o}", "chunk_size", (json_int_t)l->chunk_size, "seed",
			 (json_int_t)l->seed, "chains", chains);
}

static void print_json(const char *path, const struct ff3fs_attr *a, const char *target,
		       const struct ff3fs_layout *l)
{
	json_t *doc = json_pack("{s:o, s:s, s:I, s:I, s:i, s:i, s:i, s:I, s:I}", "path",
				cli_json_name(path), "type", cli_type_name(a->mode), "size",
				(json_int_t)a->size, "mode", (json_int_t)(a->mode & 07777), "uid",
				(int)a->uid, "gid", (int)a->gid, "nlink", (int)a->nlink, "ino",
				(json_int_t)a->ino, "generation", (json_int_t)a->generation);

	json_object_set_new(doc, "mtime", cli_json_time(a->mtime));
	json_object_set_new(doc, "ctime", cli_json_time(a->ctime));
	json_object_set_new(doc, "atime", cli_json_time(a->atime));
	json_object_set_new(doc, "btime", cli_json_time(a->btime));
	if (*target)
		json_object_set_new(doc, "target", cli_json_name(target));
	if (l)
		json_object_set_new(doc, "layout", layout_json(l));
	cli_print_json(doc);
}

static int show(struct ff3fs *fs, const char *arg)
{
	_cleanup_free_ char *path = cli_remote(fs, arg);
	static struct ff3fs_layout layout;
	char target[4096] = "";
	struct ff3fs_attr attr;
	bool has_layout;
	int r = ff3fs_stat(fs, FF3FS_ROOT, path, dereference ? 0 : FF3FS_NOFOLLOW, &attr);

	if (r < 0)
		return cli_error(arg, r);
	has_layout = S_ISREG(attr.mode) || S_ISDIR(attr.mode);
	if (S_ISLNK(attr.mode)) {
		ssize_t n = ff3fs_readlink(fs, FF3FS_ROOT, path, target, sizeof target - 1);

		if (n < 0)
			return cli_error(arg, (int)n);
		target[n] = '\0';
	}
	if (has_layout)
		r = ff3fs_get_layout(fs, FF3FS_ROOT, path, &layout);
	if (r < 0)
		return cli_error(arg, r);
	if (cli.json)
		print_json(path, &attr, target, has_layout ? &layout : NULL);
	else
		print_text(arg, &attr, target, has_layout ? &layout : NULL);
	return CLI_OK;
}

int cmd_stat(int argc, char **argv)
{
	struct cli_outcome outcome = { 0 };
	struct ff3fs *fs;

	cli_parse(&command, argc, argv);
	fs = cli_connect();
	for (int i = 0; i < cli.n_args; i++)
		cli_outcome_add(&outcome, show(fs, cli.args[i]));
	ff3fs_free(fs);
	return cli_finish(cli_outcome_exit(&outcome));
}
