/* Configuration: defaults, then the file, then the environment, from the one table conf_keys.h.
 * Not thread-safe against setenv; a loaded struct is read-only. */
#pragma once

#include <stdio.h>

#include "base.h"
#include "conf_keys.h"

typedef const char *ff3_conf_str;
typedef uint64_t ff3_conf_size;
typedef uint64_t ff3_conf_num;
typedef uint64_t ff3_conf_ms;
typedef bool ff3_conf_flag;
typedef struct ff3_links ff3_conf_links;

#define FF3_CONF_FIELD(section, key, type, def, help) ff3_conf_##type key;
#define FF3_CONF_SECTION(section)                                                                  \
	struct {                                                                                   \
		FF3_CONF_KEYS_##section(FF3_CONF_FIELD)                                            \
	} section;

struct ff3_conf {
	FF3_CONF_SECTIONS(FF3_CONF_SECTION)
	char error[512]; /* of a failed load: "FILE:LINE: unknown key 'lisen' (did you mean 'listen'?)" */
	void *strings;   /* conf.c's */
	void *values;	 /* conf.c's: each key's text, and where it was */
};

/* A key of a loaded configuration. */
struct ff3_conf_value {
	const char *section, *key;
	const char *text;   /* as it was written */
	const char *origin; /* "FILE:LINE" or "environment: NAME"; NULL: it is the default */
};

/* file: NULL looks at $FF3FS_CONF, ~/.config/ff3fs/ff3fs.conf, /etc/ff3fs/ff3fs.conf (each may be
 * absent, except a named one; user over system). 0; -EINVAL with conf->error set; -ENOENT, -EACCES
 * for a named file, with error set. Of a failed load only error is left. */
int ff3_conf_load(struct ff3_conf *conf, const char *file);
/* After a successful load; harmless after a failed one. */
void ff3_conf_done(struct ff3_conf *conf);
/* Calls fn with every key. */
void ff3_conf_each(const struct ff3_conf *conf, void (*fn)(const struct ff3_conf_value *v, void *arg),
		   void *arg);
/* Writes every key with its default and meaning, as a commented INI file. */
void ff3_conf_print(FILE *out);

/* "64M", "1.5G", "4096". -EINVAL. */
int ff3_parse_size(const char *s, uint64_t *ret);
