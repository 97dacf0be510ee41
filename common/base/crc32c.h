/* CRC32C (Castagnoli), the checksum of every block, frame and log record: the usual reflected
 * form, initial and final inversion included, so that crc32c("123456789") is 0xe3069283. */
#pragma once

#include "base.h"

/* Continues crc (0 to begin) over len bytes. Thread-safe. len may be 0 and then data NULL. */
uint32_t ff3_crc32c(uint32_t crc, const void *data, size_t len);

/* Copies len bytes, and sums each block of FF3_BLOCK of them while it is in the cache: over 1 MiB that takes two
 * thirds of the time of one after the other. offset: of the first byte, in what is cut into blocks.
 * Returns how many sums there are. */
size_t ff3_crc32c_copy(void *to, const void *from, size_t len, uint32_t offset, uint32_t *ret);
