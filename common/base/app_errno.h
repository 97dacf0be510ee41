/* What an application is told of a failure of the client's. */
#pragma once

#include <errno.h>

/* The errno for a negative result of ff3fs.h. No program expects the network's errors from a file,
 * nor codes beyond the kernel's. */
static inline int ff3_app_errno(long r)
{
	switch (r) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ECONNABORTED:
	case -ENOTCONN:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -EPIPE:
		return EIO;
	default:
		return r < -4095 ? EIO : (int)-r;
	}
}
