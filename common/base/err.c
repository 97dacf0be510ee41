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

/* What every call and every reply asks is a switch: most often about 0. */
#define ERRNO_TO_WIRE(wire, name, class) case -name: return wire;
#define DOMAIN_TO_WIRE(wire, name, eno, class, text) case FF3_E_##name: return wire;
uint32_t ff3_err_to_wire(int r)
{
	if (r >= 0)
		return 0;
	switch (r) {
		FF3_ERRNOS(ERRNO_TO_WIRE)
		FF3_DOMAIN_ERRORS(DOMAIN_TO_WIRE)
	default:
		return EIO;
	}
}

#define ERRNO_FROM_WIRE(wire, name, class) case wire: return -name;
#define DOMAIN_FROM_WIRE(wire, name, eno, class, text) case wire: return FF3_E_##name;
int ff3_err_from_wire(uint32_t wire)
{
	if (wire == 0)
		return 0;
	switch (wire) {
		FF3_ERRNOS(ERRNO_FROM_WIRE)
		FF3_DOMAIN_ERRORS(DOMAIN_FROM_WIRE)
	default:
		return -EIO;
	}
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

#define ERRNO_CLASS(wire, name, class) case -name: return FF3_CLASS_##class;
#define DOMAIN_CLASS(wire, name, eno, class, text) case FF3_E_##name: return FF3_CLASS_##class;
enum ff3_err_class ff3_err_class(int r)
{
	if (r >= 0)
		return FF3_CLASS_FINAL;
	switch (r) {
		FF3_ERRNOS(ERRNO_CLASS)
		FF3_DOMAIN_ERRORS(DOMAIN_CLASS)
	default:
		return FF3_CLASS_FINAL;
	}
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
