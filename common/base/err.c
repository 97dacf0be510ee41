#include "err.h"

struct row {
	uint32_t wire;
	int code;
	int eno;
	enum ff3_err_class class;
	const char *text;
};

#define ERRNO_ROW(wire, name, class) { wire, -name, name, FF3_CLASS_##class, NULL },
#define DOMAIN_ROW(wire, name, eno, class, text) { wire, FF3_E_##name, eno, FF3_CLASS_##class, text },
static const struct row rows[] = { FF3_ERRNOS(ERRNO_ROW) FF3_DOMAIN_ERRORS(DOMAIN_ROW) };

static const struct row *find_code(int code)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].code == code)
			return &rows[i];
	return NULL;
}

uint32_t ff3_err_to_wire(int r)
{
	const struct row *row;

	if (r >= 0)
		return 0;
	row = find_code(r);
	return row ? row->wire : EIO;
}

int ff3_err_from_wire(uint32_t wire)
{
	if (wire == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].wire == wire)
			return rows[i].code;
	return -EIO;
}

int ff3_err_errno(int r)
{
	const struct row *row;

	if (r >= 0)
		return 0;
	row = find_code(r);
	if (row)
		return row->eno;
	return r > -4096 ? -r : EIO;
}

enum ff3_err_class ff3_err_class(int r)
{
	const struct row *row = find_code(r);

	return row ? row->class : FF3_CLASS_FINAL;
}

const char *ff3_strerror(int r)
{
	const struct row *row = find_code(r);
	const char *text;

	if (row && row->text)
		return row->text;
	text = strerrordesc_np(r < 0 ? -r : r);
	return text ? text : "unknown error";
}
