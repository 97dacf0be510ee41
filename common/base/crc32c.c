#include "crc32c.h"

#include <isa-l/crc.h>

/* ISA-L is made for blocks; headers and small bodies are sooner done by the instruction itself. */
#define SMALL 256u
#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t small_crc(uint32_t crc, const uint8_t *p,
							     size_t len)
{
	uint64_t v = ~crc & UINT32_MAX, w;

	for (; len >= sizeof w; p += sizeof w, len -= sizeof w) {
		memcpy(&w, p, sizeof w);
		v = __builtin_ia32_crc32di(v, w);
	}
	if (len & 4) {
		uint32_t half;

		memcpy(&half, p, sizeof half);
		v = __builtin_ia32_crc32si((uint32_t)v, half);
		p += sizeof half;
	}
	if (len & 2) {
		uint16_t quarter;

		memcpy(&quarter, p, sizeof quarter);
		v = __builtin_ia32_crc32hi((uint32_t)v, quarter);
		p += sizeof quarter;
	}
	if (len & 1)
		v = __builtin_ia32_crc32qi((uint32_t)v, *p);
	return ~(uint32_t)v;
}
#define HAVE_SMALL __builtin_cpu_supports("sse4.2")
#else
#define HAVE_SMALL 0
#define small_crc(crc, p, len) (crc)
#endif

uint32_t ff3_crc32c(uint32_t crc, const void *data, size_t len)
{
	/* ISA-L counts in int and leaves both inversions to the caller. */
	const unsigned char *p = data;

	if (len <= SMALL && HAVE_SMALL)
		return small_crc(crc, data, len);
	crc = ~crc;
	while (len > 0) {
		size_t n = MIN(len, (size_t)1 << 30);

		crc = crc32_iscsi((unsigned char *)p, (int)n, crc);
		p += n;
		len -= n;
	}
	return ~crc;
}

size_t ff3_crc32c_copy(void *to, const void *from, size_t len, uint32_t offset, uint32_t *ret)
{
	size_t at = 0, n = 0;

	while (at < len) {
		size_t part = MIN(len - at, (size_t)(FF3_BLOCK - (offset + at) % FF3_BLOCK));

		memcpy((char *)to + at, (const char *)from + at, part);
		ret[n++] = ff3_crc32c(0, (char *)to + at, part);
		at += part;
	}
	return n;
}
