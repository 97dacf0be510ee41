/* How a mount of ff3fs-mount is told from others: every node of it answers this extended attribute
 * with "<file system>.<inode>", both in hexadecimal. */
#pragma once

#define FF3_MOUNT_XATTR "system.ff3fs"
