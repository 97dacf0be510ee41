/* The one table of configuration keys.
 *
 *   K(section, key, type, default, help)
 *
 * A key is `[section] key = value` in ff3fs.conf, FF3FS_<SECTION>_<KEY> in the environment, and
 * conf.<section>.<key> in the program; the environment overrides the file. Types: str, size
 * (bytes, with K M G T suffixes, powers of 1024), num, ms (milliseconds, or with s/ms suffix),
 * flag (yes/no), links (words of links.h). ff3fs.conf(5) is checked against this table. */
#pragma once

#include "links.h"

#define FF3_CONF_SECTIONS(S) S(client) S(metad) S(chunkd)

#define FF3_CONF_KEYS_client(K)                                                                    \
	K(client, prefix, str, "/ff3fs", "path prefixes that are served, separated by colons")     \
	K(client, metad, str, "127.0.0.1:9734", "metadata servers of the cluster, host:port, …")   \
	K(client, connections, num, "4", "connections to one daemon at most")                      \
	K(client, timeout, ms, "30s", "how long to retry while a daemon is away")                  \
	K(client, write_hold, size, "64M", "unsynced bytes kept to survive a daemon's restart")    \
	K(client, read_ahead, size, "8M", "read-ahead of one sequentially read file at most")     \
	K(client, hot, flag, "yes", "chunks that daemons expose are read without a request")         \
	K(client, cache, size, "0",  "memory for names and attributes, shared on the host; 0: none")   \
	K(client, host_locks, flag, "no", "flock and fcntl locks exclude on this host only")       \
	K(client, sockets, str, "", "directory of the daemons' local sockets, where TCP fails")    \
	K(client, transports, links, FF3_LINKS_ALL, "what daemons are reached by, preferred first")     \
	K(client, ticket, str, "", "file with the job's ticket, for daemons that ask for one over a network") \
	K(client, mount, str, "", "a mount of ff3fs-mount's that the preloaded library may use")

#define FF3_CONF_KEYS_metad(K)                                                                     \
	K(metad, dir, str, "/var/lib/ff3fs/metad", "where the log and the database live")          \
	K(metad, listen, str, "127.0.0.1:9734", "address for clients and chunk daemons")           \
	K(metad, admin, str, "127.0.0.1:9733", "address of the HTTP endpoint")                     \
	K(metad, memory, size, "256M", "memory for names and attributes")                          \
	K(metad, readers, num, "4", "threads that read the database, at most cores less 1; 0: none") \
	K(metad, chunk_size, size, "1M", "chunk size of the root directory's layout")              \
	K(metad, stripe, num, "16", "chains a file is spread over at most")                        \
	K(metad, lease, ms, "60s", "how long opens outlive a lost connection")                     \
	K(metad, group, str, "", "members ID@HOST:PORT, those without a database with :witness; empty: alone") \
	K(metad, election, ms, "500ms", "a primary that is silent for so long is replaced")        \
	K(metad, log_keep, size, "256M", "so much of the log stays for members that are behind")   \
	K(metad, member, num, "1", "which of the group this one is")                               \
	K(metad, cache_lease, ms, "300ms", "how long clients trust what they cache, unheard; 0: nothing")  \
	K(metad, key, str, "", "file with the cluster's key: over a network only tickets are believed")   \
	K(metad, sockets, str, "", "directory for a local socket; empty: none")                    \
	K(metad, transports, links, FF3_LINKS_ALL, "what clients may use")

#define FF3_CONF_KEYS_chunkd(K)                                                                    \
	K(chunkd, targets, str, "/var/lib/ff3fs/chunkd", "one directory per disk, separated by colons") \
	K(chunkd, listen, str, "127.0.0.1:0", "address for clients; port 0: a free one")           \
	K(chunkd, advertise, str, "", "address to tell clients, if another one than listen")       \
	K(chunkd, admin, str, "127.0.0.1:0", "address of the HTTP endpoint")                       \
	K(chunkd, metad, str, "127.0.0.1:9734", "metadata servers to register with, host:port, …") \
	K(chunkd, memory, size, "1G", "memory of the daemon, most of it the memory tier")            \
	K(chunkd, hot, size, "256M", "of that, what clients may read by themselves; a quarter at most") \
	K(chunkd, capacity, size, "0", "bytes a target may use; 0: what its file system has")      \
	K(chunkd, flush, ms, "1s", "unsynced bytes are written out after this at most")            \
	K(chunkd, key, str, "", "file with the cluster's key: over a network only tickets are believed")  \
	K(chunkd, sockets, str, "", "directory for a local socket; empty: none")                   \
	K(chunkd, transports, links, FF3_LINKS_ALL, "what clients may use")
