/* Errors: negative errno inside, one table for domain codes and for what the wire carries. */
#pragma once

#include "base.h"
#include "err_codes.h"

#define FF3_ERR_ENUM(wire, name, eno, class, text) FF3_E_##name = -(wire),
enum ff3_err { FF3_DOMAIN_ERRORS(FF3_ERR_ENUM) };
#undef FF3_ERR_ENUM

enum ff3_err_class {
	FF3_CLASS_FINAL,
	FF3_CLASS_RETRY_SAME,
	FF3_CLASS_RETRY_REPLICA,
	FF3_CLASS_REFRESH_ROUTE,
};

/* r: 0 or a negative code. Codes that are not in the table travel as EIO. */
uint32_t ff3_err_to_wire(int r);
/* A wire number of the peer; an unknown one becomes -EIO. */
int ff3_err_from_wire(uint32_t wire);
/* The positive errno an application sees for r (0 for r >= 0). */
int ff3_err_errno(int r);
enum ff3_err_class ff3_err_class(int r);
/* A static text for r; never NULL. Thread-safe. */
const char *ff3_strerror(int r);
