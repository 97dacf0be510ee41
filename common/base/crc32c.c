#include "crc32c.h"

#include <isa-l/crc.h>

uint32_t ff3_crc32c(uint32_t crc, const void *data, size_t len)
{
	/* ISA-L counts in int and leaves both inversions to the caller. */
	const unsigned char *p = data;

	crc = ~crc;
	while (len > 0) {
		size_t n = MIN(len, (size_t)1 << 30);

		crc = crc32_iscsi((unsigned char *)p, (int)n, crc);
		p += n;
		len -= n;
	}
	return ~crc;
}
