/* A directory of ours that the kernel has to know is an empty one of the machine's, already removed,
 * whose name tells which it stands for: FF3_CWD_NAME "<inode>:<unique>", both in hexadecimal. The
 * shim and ff3fs run --notify leave such working directories to each other's programs. */
#pragma once

#define FF3_CWD_NAME "ff3fs-cwd:"
