/* Purpose: JSON strings of file names. Pure functions. */
#include "json_bytes.h"

/* The length of the UTF-8 character at p, or 0 if it is none. */
static size_t utf8_length(const unsigned char *p, size_t len)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 },
		      { 0xf8, 0xf0, 0x10000 } };

	for (size_t n = 0; n < ARRAY_SIZE(forms) && n < len; n++) {
		uint32_t c = p[0] & (unsigned char)~forms[n].mask;

		if ((p[0] & forms[n].mask) != forms[n].lead)
			continue;
		for (size_t i = 1; i <= n; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (p[i] & 0x3fu);
		}
		return c < forms[n].least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n + 1;
	}
	return 0;
}

json_t *ff3_json_bytes(const char *p, size_t len)
{
	json_t *s = json_stringn(p, len);
	_cleanup_free_ char *clean = NULL;
	size_t n = 0;

	if (s || !(clean = malloc(len * 3 + 1)))
		return s;
	for (size_t i = 0, c; i < len; i += c ? c : 1) {
		c = utf8_length((const unsigned char *)p + i, len - i);
		memcpy(clean + n, c ? p + i : "\xef\xbf\xbd", c ? c : 3);
		n += c ? c : 3;
	}
	return json_stringn(clean, n);
}
