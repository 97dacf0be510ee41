/* Configuration. Format: lines `[section]` and `key = value`; a comment begins with # or ; at the
 * start of a line, or with ; after a space. Lines may be long: a target list of many disks is one.
 * Keys and defaults are conf_keys.h's table. */
#include "conf.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/stat.h>

enum conf_type { TYPE_str, TYPE_size, TYPE_num, TYPE_ms, TYPE_flag, TYPE_links };

struct key {
	const char *section;
	const char *name;
	enum conf_type type;
	size_t offset;
	const char *def;
	const char *help;
};

#define KEY_ROW(section, key, type, def, help)                                                     \
	{ #section, #key, TYPE_##type, offsetof(struct ff3_conf, section.key), def, help },
#define SECTION_ROWS(section) FF3_CONF_KEYS_##section(KEY_ROW)
static const struct key keys[] = { FF3_CONF_SECTIONS(SECTION_ROWS) };

#define SECTION_NAME(section) #section,
static const char *const sections[] = { FF3_CONF_SECTIONS(SECTION_NAME) };

/* Every string a configuration holds, so that it can be freed: a chain of allocations. */
struct string {
	struct string *next;
	char text[];
};

static int set_error(struct ff3_conf *conf, int r, const char *format, ...) PRINTF_LIKE(3, 4);
static int set_error(struct ff3_conf *conf, int r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(conf->error, sizeof conf->error, format, ap);
	va_end(ap);
	return r;
}

static int parse_scaled(const char *s, const char *const units[], const double factors[], size_t n,
			uint64_t *ret)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(s, &end);
	if (end == s || errno || !(v >= 0))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(end, units[i]) == 0) {
			if (v * factors[i] >= 0x1p64)
				return -ERANGE;
			*ret = (uint64_t)(v * factors[i] + 0.5);
			return 0;
		}
	return -EINVAL;
}

int ff3_parse_size(const char *s, uint64_t *ret)
{
	static const char *const units[] = { "", "B", "K", "KiB", "M", "MiB", "G", "GiB", "T", "TiB" };
	static const double factors[] = { 1, 1, 0x1p10, 0x1p10, 0x1p20, 0x1p20, 0x1p30, 0x1p30,
					  0x1p40, 0x1p40 };

	return parse_scaled(s, units, factors, ARRAY_SIZE(units), ret);
}

static int parse_ms(const char *s, uint64_t *ret)
{
	static const char *const units[] = { "", "ms", "s", "m" };
	static const double factors[] = { 1, 1, 1000, 60000 };

	return parse_scaled(s, units, factors, ARRAY_SIZE(units), ret);
}

static int parse_flag(const char *s, bool *ret)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(s, yes[i]) == 0)
			return *ret = true, 0;
		if (strcasecmp(s, no[i]) == 0)
			return *ret = false, 0;
	}
	return -EINVAL;
}

/* A copy that lives as long as conf. */
static const char *keep(struct ff3_conf *conf, const char *text)
{
	struct string *s = malloc(sizeof *s + strlen(text) + 1);

	if (!s)
		return NULL;
	strcpy(s->text, text);
	s->next = conf->strings;
	conf->strings = s;
	return s->text;
}

static int parse_value(struct ff3_conf *conf, const struct key *k, const char *value)
{
	void *field = (char *)conf + k->offset;

	switch (k->type) {
	case TYPE_str:
		*(ff3_conf_str *)field = keep(conf, value);
		return *(ff3_conf_str *)field ? 0 : -ENOMEM;
	case TYPE_size:
	case TYPE_num:
		return ff3_parse_size(value, field);
	case TYPE_ms:
		return parse_ms(value, field);
	case TYPE_flag:
		return parse_flag(value, field);
	case TYPE_links:
		return ff3_links_parse(value, field);
	}
	return -EINVAL;
}

/* origin: where value was found; NULL: it is the default. */
static int set_key(struct ff3_conf *conf, const struct key *k, const char *value, const char *origin)
{
	struct ff3_conf_value *v = (struct ff3_conf_value *)conf->values + (k - keys);
	int r = parse_value(conf, k, value);

	if (r < 0)
		return r;
	*v = (struct ff3_conf_value){ .section = k->section, .key = k->name, .text = keep(conf, value),
				      .origin = origin ? keep(conf, origin) : NULL };
	return v->text && (v->origin || !origin) ? 0 : -ENOMEM;
}

static const char *type_text(enum conf_type type)
{
	static const char *const texts[] = {
		[TYPE_str] = "a text",
		[TYPE_size] = "a size such as 64M",
		[TYPE_num] = "a number",
		[TYPE_ms] = "a time such as 500ms or 30s",
		[TYPE_flag] = "yes or no",
		[TYPE_links] = "words of shm, verbs, tcp and unix",
	};

	return texts[type];
}

/* Levenshtein distance, for "did you mean"; names are short. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strlen(b);

	if (n >= ARRAY_SIZE(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t change = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = MIN(MIN(row[j], row[j + 1]) + 1, change);
		}
	}
	return row[n];
}

static const char *nearest_key(const char *section, const char *name)
{
	const char *best = NULL;
	size_t best_distance = 4;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		size_t d = distance(name, keys[i].name);

		if (strcmp(keys[i].section, section) == 0 && d < best_distance) {
			best = keys[i].name;
			best_distance = d;
		}
	}
	return best;
}

static bool section_exists(const char *section)
{
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		if (strcmp(sections[i], section) == 0)
			return true;
	return false;
}

/* One `key = value` of a file. The error has no place in it yet. */
static int set_by_name(struct ff3_conf *conf, const char *section, const char *name,
		       const char *value, const char *origin)
{
	const char *near;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0)
			continue;
		r = set_key(conf, &keys[i], value, origin);
		return r < 0 ? set_error(conf, r, "[%s] %s = %s: expected %s", section, name, value,
					 type_text(keys[i].type)) :
			       0;
	}
	near = nearest_key(section, name);
	if (!section_exists(section))
		return set_error(conf, -EINVAL, "unknown section [%s]", section);
	if (near)
		return set_error(conf, -EINVAL, "unknown key '%s' in [%s] (did you mean '%s'?)", name,
				 section, near);
	return set_error(conf, -EINVAL, "unknown key '%s' in [%s]", name, section);
}

/* Cuts space at both ends. */
static char *trim(char *s)
{
	size_t len;

	while (isspace((unsigned char)*s))
		s++;
	len = strlen(s);
	while (len > 0 && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return s;
}

static void cut_comment(char *line)
{
	for (char *p = line; *p; p++)
		if (*p == ';' && p > line && isspace((unsigned char)p[-1])) {
			*p = '\0';
			return;
		}
}

/* section: room for its name; a line may change it. */
static int parse_line(struct ff3_conf *conf, char *line, char section[64], const char *origin)
{
	char *end, *value;

	cut_comment(line);
	line = trim(line);
	if (*line == '\0' || *line == '#' || *line == ';')
		return 0;
	if (*line == '[') {
		end = strchr(line, ']');
		if (!end || end[1] != '\0')
			return set_error(conf, -EINVAL, "not a [section] line");
		*end = '\0';
		if ((size_t)(end - line) > 64)
			return set_error(conf, -EINVAL, "unknown section [%s]", line + 1);
		strcpy(section, line + 1);
		return 0;
	}
	value = strchr(line, '=');
	if (!value)
		return set_error(conf, -EINVAL, "not a 'key = value' line");
	*value++ = '\0';
	return set_by_name(conf, section, trim(line), trim(value), origin);
}

static int parse_file(struct ff3_conf *conf, FILE *f, const char *file)
{
	_cleanup_free_ char *line = NULL;
	char section[64] = "", why[sizeof conf->error], origin[PATH_MAX + 16];
	size_t size = 0;
	int r;

	for (unsigned number = 1; getline(&line, &size, f) >= 0; number++) {
		snprintf(origin, sizeof origin, "%s:%u", file, number);
		r = parse_line(conf, line, section, origin);
		if (r < 0) {
			memcpy(why, conf->error, sizeof why);
			return set_error(conf, r, "%s:%u: %.400s", file, number, why);
		}
	}
	if (ferror(f)) {
		r = -errno;
		return set_error(conf, r, "cannot read %s: %s", file, strerror(-r));
	}
	return 0;
}

static int load_file(struct ff3_conf *conf, const char *file, bool must_exist)
{
	FILE *f = fopen(file, "re");
	int r;

	if (!f) {
		r = -errno;
		if (!must_exist && (r == -ENOENT || r == -ENOTDIR || r == -EACCES))
			return 0;
		return set_error(conf, r, "cannot read %s: %s", file, strerror(-r));
	}
	r = parse_file(conf, f, file);
	fclose(f);
	return r;
}

static int load_environment(struct ff3_conf *conf)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char origin[96] = "environment: ", *name = origin + strlen(origin);
		const char *value;

		snprintf(name, 64, "FF3FS_%s_%s", keys[i].section, keys[i].name);
		for (char *p = name; *p; p++)
			if (*p >= 'a' && *p <= 'z')
				*p = (char)(*p - 'a' + 'A');
		value = getenv(name);
		if (value && set_key(conf, &keys[i], value, origin) < 0)
			return set_error(conf, -EINVAL, "environment: %s=%s: expected %s", name, value,
					 type_text(keys[i].type));
	}
	return 0;
}

static int load_files(struct ff3_conf *conf, const char *file)
{
	const char *home = getenv("HOME");
	char path[4096];
	int r;

	if (!file)
		file = getenv("FF3FS_CONF");
	if (file && *file)
		return load_file(conf, file, true);
	r = load_file(conf, SYSCONFDIR "/ff3fs/ff3fs.conf", false);
	if (r < 0 || !home || snprintf(path, sizeof path, "%s/.config/ff3fs/ff3fs.conf", home) >=
				      (int)sizeof path)
		return r;
	return load_file(conf, path, false);
}

int ff3_conf_load(struct ff3_conf *conf, const char *file)
{
	const char *prefix = getenv("FF3FS_PREFIX");
	int r;

	*conf = (struct ff3_conf){ .values = calloc(ARRAY_SIZE(keys), sizeof(struct ff3_conf_value)) };
	if (!conf->values)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		r = set_key(conf, &keys[i], keys[i].def, NULL);
		if (r < 0)
			return set_error(conf, r, "default of %s: %s", keys[i].name, strerror(-r));
	}
	r = load_files(conf, file);
	if (r >= 0)
		r = load_environment(conf);
	/* The short name, which the shim reads too. */
	if (r >= 0 && prefix && *prefix)
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			if (keys[i].offset == offsetof(struct ff3_conf, client.prefix))
				r = set_key(conf, &keys[i], prefix, "environment: FF3FS_PREFIX");
	if (r < 0)
		ff3_conf_done(conf);
	return r;
}

void ff3_conf_done(struct ff3_conf *conf)
{
	for (struct string *s = conf->strings, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	conf->strings = NULL;
	free(TAKE_PTR(conf->values));
}

void ff3_conf_each(const struct ff3_conf *conf, void (*fn)(const struct ff3_conf_value *v, void *arg),
		   void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		fn((const struct ff3_conf_value *)conf->values + i, arg);
}

void ff3_conf_print(FILE *out)
{
	const char *section = "";

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(section, keys[i].section) != 0)
			fprintf(out, "%s[%s]\n", *section ? "\n" : "", keys[i].section);
		section = keys[i].section;
		fprintf(out, "# %s\n#%s = %s\n", keys[i].help, keys[i].name, keys[i].def);
	}
}
