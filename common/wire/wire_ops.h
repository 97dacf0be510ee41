/* The one list of everything that travels: structs, requests, replies. This file is long because it is one list.
 *
 *   S(struct)                           FF3_STRUCT_<struct>(F)
 *   OP(number, name, daemon, traits)    FF3_REQ_<name>(F) and FF3_REP_<name>(F)
 *
 * F(type, field) is a field in wire order. Scalars u8 u16 u32 u64 are little-endian; `str` is a
 * u32 length and bytes without NUL; `blob` is the same for opaque bytes or for a packed
 * sequence of structs (the comment names which); any S() above the user may be a field type.
 * Operation numbers are never reused. daemon: both, metad, chunkd. traits: what the server
 * must do with it:
 *   READ     answers from state, changes nothing
 *   MUTATE   goes through metad's log; carries (seq, acked) so that a retry applies once
 *   SESSION  changes only what metad holds in memory for a connected client
 *   DATA     moves chunk bytes
 * Adding an operation: a row with its two field lists here, a handler in the daemon's table, a
 * caller, a test. The codec, the names, the dispatch and the round-trip tests follow by
 * themselves. Limits stand at the end. */
#pragma once

#define FF3_STRUCTS(S)                                                                             \
	S(time)                                                                                    \
	S(layout)                                                                                  \
	S(attr)                                                                                    \
	S(dirent)                                                                                  \
	S(node)                                                                                    \
	S(target)                                                                                  \
	S(chain)                                                                                   \
	S(path)                                                                                    \
	S(redirect)                                                                                \
	S(not_primary)                                                                             \
	S(tag)                                                                                     \
	S(cap)                                                                                     \
	S(cap_key)                                                                                 \
	S(ticket)                                                                                  \
	S(chunk)

#define FF3_STRUCT_time(F)                                                                         \
	F(u64, sec) /* two's complement */                                                         \
	F(u32, nsec)

/* Chunk i of a file lies on chain stripe[(i + seed) % n_stripe]. */
#define FF3_STRUCT_layout(F)                                                                       \
	F(u32, chunk_size) /* bytes, a power of two */                                             \
	F(u32, seed)                                                                               \
	F(u8, pin)      /* FF3_PIN_* */                                                            \
	F(blob, stripe) /* u32 chain ids */

#define FF3_STRUCT_attr(F)                                                                         \
	F(u64, ino)                                                                                \
	F(u64, generation) /* raised by every change of size downwards and of mode or owner */     \
	F(u32, cuts)       /* by the former alone: how often the file was cut */                   \
	F(u32, mode)       /* S_IFMT and permission bits */                                        \
	F(u32, uid)                                                                                \
	F(u32, gid)                                                                                \
	F(u32, nlink)                                                                              \
	F(u64, size)                                                                               \
	F(time, atime)                                                                             \
	F(time, mtime)                                                                             \
	F(time, ctime)                                                                             \
	F(time, btime)

/* cookie orders a directory and continues a listing after this entry; 0 is before the first. */
#define FF3_STRUCT_dirent(F)                                                                       \
	F(u64, cookie)                                                                             \
	F(u64, ino)                                                                                \
	F(u32, type) /* DT_* */                                                                    \
	F(str, name)                                                                               \
	F(blob, attr) /* one attr if asked for, else empty */

#define FF3_STRUCT_node(F)                                                                         \
	F(u64, node)                                                                               \
	F(str, address) /* host:port for data */                                                   \
	F(str, admin)   /* host:port of its HTTP endpoint, or empty */                             \
	F(u64, seen_ms) /* milliseconds since its last heartbeat; all ones: never */

#define FF3_STRUCT_target(F)                                                                       \
	F(u64, target)                                                                             \
	F(u64, node)                                                                               \
	F(u32, state) /* enum ff3_target_state */                                                  \
	F(u64, capacity)                                                                           \
	F(u64, used)

#define FF3_STRUCT_chain(F)                                                                        \
	F(u32, chain)                                                                              \
	F(u64, version)                                                                            \
	F(blob, members) /* u64 target ids, head first */

/* Names an object: path is resolved from directory dir; an empty path is dir itself. */
#define FF3_STRUCT_path(F)                                                                         \
	F(u64, dir)                                                                                \
	F(u32, flags) /* FF3_PATH_* */                                                             \
	F(str, path)

/* The body of a reply with status REDIRECT: where the path goes on, outside the file system. An
 * absolute path, or one relative to the directory above the file system's root. */
#define FF3_STRUCT_redirect(F) F(str, path)

/* The body of a hello's reply with status NOT_PRIMARY: where the primary is that this member follows,
 * as far as it knows, and the epoch it knows of. */
#define FF3_STRUCT_not_primary(F)                                                                  \
	F(str, primary) /* host:port, or empty */                                                  \
	F(u64, epoch)

/* Makes a mutation apply once: seq counts a session's mutations from 1, every seq below acked
 * has been answered. */
#define FF3_STRUCT_tag(F)                                                                          \
	F(u64, seq)                                                                                \
	F(u64, acked)

/* What an open file's session may do with its chunks without asking metad, as which user. A capability on the wire
 * is this and 32 bytes of HMAC-SHA256 over it. */
#define FF3_STRUCT_cap(F)                                                                          \
	F(u64, ino)                                                                                \
	F(u64, generation)                                                                         \
	F(u64, session)                                                                            \
	F(u64, expires) /* milliseconds since 1970 */                                                   \
	F(u32, rights)  /* FF3_CAP_* */                                                            \
	F(u32, user)    /* whom metad let read it */                                               \
	F(u32, group)   /* that it had to be in; FF3_NO_GROUP: none */                             \
	F(u32, key)     /* id of the key */

/* A key of metad's for capabilities, for chunk daemons. */
#define FF3_STRUCT_cap_key(F)                                                                      \
	F(u32, id)                                                                                 \
	F(blob, key)

/* Who may come over a network as whom. In a hello it is hexadecimal, with 32 bytes of HMAC-SHA256 over it. */
#define FF3_STRUCT_ticket(F)                                                                       \
	F(u32, uid)                                                                                \
	F(u32, gid)                                                                                \
	F(u64, expires) /* milliseconds since 1970 */                                              \
	F(blob, groups) /* u32 */

/* A chunk that a target holds. */
#define FF3_STRUCT_chunk(F)                                                                        \
	F(u64, ino)                                                                                \
	F(u32, index)                                                                              \
	F(u32, length)                                                                             \
	F(u64, version)

#define FF3_OPS(OP)                                                                                \
	OP(1, hello, both, SESSION)                                                                \
	OP(2, ping, both, READ)                                                                    \
	OP(3, attach, both, SESSION)                                                               \
	OP(16, lookup, metad, READ)                                                                \
	OP(17, open, metad, MUTATE)                                                                \
	OP(18, release, metad, SESSION)                                                            \
	OP(19, reopen, metad, SESSION)                                                             \
	OP(20, extend, metad, SESSION)                                                             \
	OP(21, append_lock, metad, SESSION)                                                        \
	OP(22, commit, metad, MUTATE)                                                              \
	OP(23, setattr, metad, MUTATE)                                                             \
	OP(24, truncate, metad, MUTATE)                                                            \
	OP(25, access, metad, READ)                                                                \
	OP(26, readdir, metad, READ)                                                               \
	OP(27, readlink, metad, READ)                                                              \
	OP(28, mkdir, metad, MUTATE)                                                               \
	OP(29, rmdir, metad, MUTATE)                                                               \
	OP(30, unlink, metad, MUTATE)                                                              \
	OP(31, rename, metad, MUTATE)                                                              \
	OP(32, link, metad, MUTATE)                                                                \
	OP(33, symlink, metad, MUTATE)                                                             \
	OP(34, statfs, metad, READ)                                                                \
	OP(35, getxattr, metad, READ)                                                              \
	OP(36, setxattr, metad, MUTATE)                                                            \
	OP(37, listxattr, metad, READ)                                                             \
	OP(38, removexattr, metad, MUTATE)                                                         \
	OP(39, get_layout, metad, READ)                                                            \
	OP(40, set_layout, metad, MUTATE)                                                          \
	OP(41, routes, metad, READ)                                                                \
	OP(42, get_path, metad, READ)                                                              \
	OP(43, lock, metad, SESSION)                                                               \
	OP(44, mknod, metad, MUTATE)                                                               \
	OP(45, remove_tree, metad, MUTATE)                                                         \
	OP(46, removal, metad, READ)                                                               \
	OP(48, register_node, metad, MUTATE)                                                       \
	OP(49, heartbeat, metad, SESSION)                                                          \
	OP(50, member, metad, SESSION)                                                             \
	OP(51, member_copy, metad, SESSION)                                                        \
	OP(52, member_copied, metad, SESSION)                                                      \
	OP(53, resolve, metad, SESSION)                                                            \
	OP(54, lease, metad, SESSION)                                                              \
	OP(55, append, metad, MUTATE)                                                              \
	OP(56, returned, metad, SESSION)                                                           \
	OP(64, chunk_read, chunkd, DATA)                                                           \
	OP(65, chunk_write, chunkd, DATA)                                                          \
	OP(66, chunk_sync, chunkd, DATA)                                                           \
	OP(67, chunk_truncate, chunkd, DATA)                                                       \
	OP(68, chunk_remove, chunkd, DATA)                                                         \
	OP(69, chunk_expose, chunkd, DATA)                                                         \
	OP(70, chunk_revoke, chunkd, DATA)                                                         \
	OP(71, chunk_list, chunkd, DATA)

/* First message of every connection, both ways. A client process chooses its session id once
 * and keeps it over reconnects; a forked child chooses another. */
#define FF3_REQ_hello(F)                                                                           \
	F(u64, cluster) /* 0: whichever the server has */                                          \
	F(u64, session) /* members: [metad] election, ms */                                        \
	F(u32, role) /* enum ff3_role */                                                           \
	F(u32, uid)                                                                                \
	F(u32, gid)                                                                                \
	F(blob, groups) /* u32 supplementary group ids */                                          \
	F(u64, target)  /* chunkd: the target this connection is for; metad: 0 */                  \
	F(u32, pid)                                                                                \
	F(str, host)                                                                               \
	F(blob, credential)                                                                        \
	F(u64, epoch)  /* metad and members: the highest they know; others: 0 */                   \
	F(u64, member) /* members: which one calls, and of which log; others: 0 */                 \
	F(u64, log_id)                                                                    \
	F(u8, link)     /* enum ff3_link_kind: what the connection is to be */                     \
	F(blob, tried)  /* pairs of u8: links that are preferred and do not work, ff3_link_reason */
#define FF3_REP_hello(F)                                                                           \
	F(u64, cluster)                                                                            \
	F(u64, instance) /* new at every start of the daemon */                                    \
	F(u64, node)                                                                               \
	F(u32, lease_ms) /* how long the session outlives its connection */                        \
	F(u32, transports) /* FF3_TRANSPORT_*: what it can be reached by besides */                \
	F(str, software)                                                                           \
	F(u64, epoch)  /* metad: raised with every primary; chunkd: the highest it knows */        \
	F(u64, member) /* metad in a group: which one answers; to members, of which log, too */    \
	F(u64, log_id)

/* Over a local socket: the connection goes on in shared memory, whose descriptor comes with the reply
 * (common/net/shm.h). ring: bytes of each ring; data: bytes behind them. */
#define FF3_REQ_attach(F)
#define FF3_REP_attach(F)                                                                          \
	F(u32, ring)                                                                               \
	F(u64, data)

#define FF3_REQ_ping(F) F(u64, cookie)
#define FF3_REP_ping(F) F(u64, cookie)

#define FF3_REQ_lookup(F) F(path, at)
#define FF3_REP_lookup(F) F(attr, attr)

/* flags: FF3_OPEN_*. Registers one open of the inode by the session. */
#define FF3_REQ_open(F)                                                                            \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(u32, flags)                                                                              \
	F(u32, mode) /* umask already applied */
#define FF3_REP_open(F)                                                                            \
	F(attr, attr)                                                                              \
	F(layout, layout)                                                                          \
	F(u8, created)                                                                             \
	F(blob, cap) /* a capability, of pinned files, or empty; the last field */

/* Drops n opens of ino. One-way: sent with FF3_FRAME_ONE_WAY, never answered. */
#define FF3_REQ_release(F)                                                                         \
	F(u64, ino)                                                                                \
	F(u32, n)
#define FF3_REP_release(F)

/* Registers an open of a known inode: after fork, exec or reconnect. Fails with ESTALE when the
 * inode is gone. Asks for no permission: the session (or its ancestor) was granted it by open. */
#define FF3_REQ_reopen(F)                                                                          \
	F(u64, ino)                                                                                \
	F(u32, flags)
#define FF3_REP_reopen(F)                                                                          \
	F(attr, attr)                                                                              \
	F(layout, layout)                                                                          \
	F(blob, cap) /* empty if the session was not granted it by open and may not open it now */

/* The file now reaches at least to end, and was modified. Held in memory, seen by everyone at
 * once, logged by commit, by release or when the session dies. Who tells an end again that was told
 * before, or may have been, says how often the file had been cut then: if that has changed, it counts
 * for nothing. cuts in the reply: how often by now. */
#define FF3_REQ_extend(F)                                                                          \
	F(u64, ino)                                                                                \
	F(u64, end)                                                                                \
	F(u8, sparse) /* something before end may never have been written */                       \
	F(u8, again)                                                                               \
	F(u32, cuts) /* if again */
#define FF3_REP_extend(F)                                                                          \
	F(u64, size)                                                                               \
	F(u32, cuts)

/* Waits for the exclusive right to append and answers the end of the file. grant: the right's number. EAGAIN: as of
 * lock, for ends that a metad which restarted does not know yet. */
#define FF3_REQ_append_lock(F) F(u64, ino)
#define FF3_REP_append_lock(F)                                                                     \
	F(u64, size)                                                                               \
	F(u64, grant)

/* Gives the right back, and the file now reaches to end, where there is one: as of extend, but once, like every
 * mutation. ECANCELED: the right was lost before, so it does not count and never will. grant 0 with end 0: whichever
 * right the session has. */
#define FF3_REQ_append(F)                                                                          \
	F(tag, tag)                                                                                \
	F(u64, ino)                                                                                \
	F(u64, end)                                                                                \
	F(u64, grant)                                                                              \
	F(u8, sparse)
#define FF3_REP_append(F)                                                                          \
	F(u64, size)                                                                               \
	F(u32, cuts)

/* After metad restarted: the session has opened again and told again all that it has open, told and locked. */
#define FF3_REQ_returned(F)
#define FF3_REP_returned(F)

/* flock(2) and fcntl(2) locks between hosts; common/base/locks.h has the rules and the values of
 * kind and type. Answers at once: granted, or the lock of another domain that is in the way. The
 * file must be open by the session, and the lock goes with that open. EAGAIN: metad restarted less
 * than a lease ago, and clients that may hold locks have not come back yet; those that have take
 * theirs again with FF3_LOCK_RECLAIM. held: what the owner has where the range begins. */
#define FF3_REQ_lock(F)                                                                            \
	F(u64, ino)                                                                                \
	F(u64, domain)                                                                             \
	F(u64, owner)                                                                              \
	F(u64, first)                                                                              \
	F(u64, last) /* inclusive */                                                               \
	F(u8, kind)                                                                                \
	F(u8, type)                                                                                \
	F(u8, flags) /* FF3_LOCK_* */
#define FF3_REP_lock(F)                                                                            \
	F(u8, granted)                                                                             \
	F(u8, held)                                                                                \
	F(u8, type) /* the three of the lock in the way */                                         \
	F(u64, first)                                                                              \
	F(u64, last)

/* Makes size and times durable. end (0: none) is told with it. The last two were not in version 2, whose records may
 * be in a log. */
#define FF3_REQ_commit(F)                                                                          \
	F(tag, tag)                                                                                \
	F(u64, ino)                                                                                \
	F(u64, end)                                                                                \
	F(u8, sparse) /* as of extend, and the others */                                           \
	F(u8, again)                                                                               \
	F(u32, cuts)
#define FF3_REP_commit(F) F(attr, attr)

/* valid: FF3_SET_*. */
#define FF3_REQ_setattr(F)                                                                         \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(u32, valid)                                                                              \
	F(u32, mode)                                                                               \
	F(u32, uid)                                                                                \
	F(u32, gid)                                                                                \
	F(time, atime)                                                                             \
	F(time, mtime)
#define FF3_REP_setattr(F) F(attr, attr)

/* Answers when the chunks beyond size are durably gone, so that growing again reads zeros.
 * by_open: through a descriptor that is open for writing, so no permission is asked again. */
#define FF3_REQ_truncate(F)                                                                        \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(u64, size)                                                                               \
	F(u8, by_open)
#define FF3_REP_truncate(F) F(attr, attr)

#define FF3_REQ_access(F)                                                                          \
	F(path, at)                                                                                \
	F(u32, mask) /* R_OK | W_OK | X_OK */
#define FF3_REP_access(F)

/* Entries after cookie, at most max_bytes of them; "." and ".." are not listed. */
#define FF3_REQ_readdir(F)                                                                         \
	F(u64, ino)                                                                                \
	F(u64, cookie)                                                                             \
	F(u32, max_bytes)                                                                          \
	F(u8, with_attr)
#define FF3_REP_readdir(F)                                                                         \
	F(u64, parent)                                                                             \
	F(u8, end) /* nothing follows */                                                           \
	F(blob, entries) /* dirent */

#define FF3_REQ_readlink(F) F(path, at)
#define FF3_REP_readlink(F) F(str, target)

#define FF3_REQ_mkdir(F)                                                                           \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(u32, mode)
#define FF3_REP_mkdir(F) F(attr, attr)

/* A socket or a named pipe: a name and a mode; what passes through is the hosts' affair. */
#define FF3_REQ_mknod(F)                                                                           \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(u32, mode) /* S_IFSOCK or S_IFIFO, and permission bits */
#define FF3_REP_mknod(F) F(attr, attr)

/* lookup for who may keep the answer: holder is whom `lease` made known. flags: FF3_OPEN_READ: an open
 * for reading, which is registered unless the answer may be kept; 0: only what is there. leased: the
 * answer is true as long as the holder is not told otherwise of one of dirs. */
#define FF3_REQ_resolve(F)                                                                         \
	F(path, at)                                                                                \
	F(u32, flags)                                                                              \
	F(u64, holder)
#define FF3_REP_resolve(F)                                                                         \
	F(attr, attr)                                                                              \
	F(layout, layout)                                                                          \
	F(u8, leased)                                                                              \
	F(u8, may_read) /* the caller may open it for reading */                                   \
	F(u64, life)                                                                               \
	F(blob, dirs) /* u64 inode ids: every directory on the way; the last one is the object's own */ \
	F(blob, cap) /* as of open, where one was registered */

/* Holds what holder's host keeps for another lease_ms from now, and waits for something to be told.
 * acked: everything up to this number was heeded. The answer: dirs of which nothing may be used any
 * more, seq the number of the last. Another life than that of what is kept: nothing of it may. leave,
 * FF3_LEAVE_*: the holder uses nothing any more until it comes again, which is with a higher term: what
 * comes late of an earlier one is -ESTALE. */
#define FF3_REQ_lease(F)                                                                           \
	F(u64, holder)                                                                             \
	F(u64, term) /* counts those who spoke for the holder, one after the other */              \
	F(u64, life) /* of what is kept; 0: nothing */                                             \
	F(u64, acked)                                                                              \
	F(u8, leave)
#define FF3_REP_lease(F)                                                                           \
	F(u64, life)                                                                               \
	F(u64, seq)                                                                                \
	F(u32, lease_ms)                                                                           \
	F(u8, more)   /* not everything is told: the lease is not longer than it was */            \
	F(blob, dirs) /* u64 inode ids */

#define FF3_REQ_rmdir(F)                                                                           \
	F(tag, tag)                                                                                \
	F(path, at)
#define FF3_REP_rmdir(F)

#define FF3_REQ_unlink(F)                                                                          \
	F(tag, tag)                                                                                \
	F(path, at)
#define FF3_REP_unlink(F)

#define FF3_REQ_rename(F)                                                                          \
	F(tag, tag)                                                                                \
	F(path, from)                                                                              \
	F(path, to)                                                                                \
	F(u32, flags) /* RENAME_NOREPLACE 1, RENAME_EXCHANGE 2 */
#define FF3_REP_rename(F)

#define FF3_REQ_link(F)                                                                            \
	F(tag, tag)                                                                                \
	F(path, from)                                                                              \
	F(path, to)
#define FF3_REP_link(F) F(attr, attr)

#define FF3_REQ_symlink(F)                                                                         \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(str, target)
#define FF3_REP_symlink(F) F(attr, attr)

#define FF3_REQ_statfs(F)
#define FF3_REP_statfs(F)                                                                          \
	F(u64, capacity)                                                                           \
	F(u64, used)                                                                               \
	F(u64, free)                                                                               \
	F(u64, inodes)                                                                             \
	F(u64, fsid)

#define FF3_REQ_getxattr(F)                                                                        \
	F(path, at)                                                                                \
	F(str, name)
#define FF3_REP_getxattr(F) F(blob, value)

#define FF3_REQ_setxattr(F)                                                                        \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(str, name)                                                                               \
	F(blob, value)                                                                             \
	F(u32, flags) /* XATTR_CREATE 1, XATTR_REPLACE 2 */
#define FF3_REP_setxattr(F)

#define FF3_REQ_listxattr(F) F(path, at)
#define FF3_REP_listxattr(F) F(blob, names) /* each ends with NUL */

#define FF3_REQ_removexattr(F)                                                                     \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(str, name)
#define FF3_REP_removexattr(F)

/* A directory's layout is what files made in it inherit; own tells whether it was set there. */
#define FF3_REQ_get_layout(F) F(path, at)
#define FF3_REP_get_layout(F)                                                                      \
	F(attr, attr)                                                                              \
	F(layout, layout)                                                                          \
	F(u8, own)

/* chunk_size 0, stripe width 0 and no pin: back to what is inherited. */
#define FF3_REQ_set_layout(F)                                                                      \
	F(tag, tag)                                                                                \
	F(path, at)                                                                                \
	F(u32, chunk_size)                                                                         \
	F(u32, stripe) /* chains a file is spread over */                                          \
	F(u8, pin)     /* FF3_PIN_*; 0: as it is */
#define FF3_REP_set_layout(F)

/* The routing table, whole, unless the caller has that version already. */
#define FF3_REQ_routes(F) F(u64, version)
#define FF3_REP_routes(F)                                                                          \
	F(u64, version)                                                                            \
	F(blob, nodes)   /* node */                                                                \
	F(blob, targets) /* target */                                                              \
	F(blob, chains)  /* chain */

/* The path of a directory or file from the root, for getcwd and /proc-like names. */
#define FF3_REQ_get_path(F) F(u64, ino)
#define FF3_REP_get_path(F) F(str, path)

/* Takes a directory and all that is below it out of the name space, at once; what was in it is removed
 * later. removal: for asking how far that is. EACCES: the caller may not empty each directory.
 * E2BIG: too many directories to judge that at once; what is below the directory is to be removed one
 * by one, or tree by tree. */
#define FF3_REQ_remove_tree(F)                                                                     \
	F(tag, tag)                                                                                \
	F(path, at)
#define FF3_REP_remove_tree(F) F(u64, removal)

/* How far the removal of a tree is. state: FF3_REMOVAL_*. */
#define FF3_REQ_removal(F) F(u64, removal)
#define FF3_REP_removal(F)                                                                         \
	F(u32, state)                                                                              \
	F(u64, names)   /* that are gone, without directories */                                   \
	F(u64, dirs)    /* that are gone */                                                        \
	F(u64, waiting) /* inodes that are open, or whose chunks are still there */                \
	F(u64, open)    /* of them, that are open */

/* A chunk daemon says who it is. Metad knows it by node (chosen by the daemon when its first
 * target was made) and gives every new target a chain. */
#define FF3_REQ_register_node(F)                                                                   \
	F(tag, tag)                                                                                \
	F(u64, node)                                                                               \
	F(str, address)                                                                            \
	F(str, admin)                                                                              \
	F(blob, targets) /* target */
#define FF3_REP_register_node(F)                                                                   \
	F(u64, cluster)                                                                            \
	F(u64, version)                                                                            \
	F(blob, keys) /* cap_key, of the caps that are out */

#define FF3_REQ_heartbeat(F)                                                                       \
	F(u64, node)                                                                               \
	F(blob, targets) /* target */
#define FF3_REP_heartbeat(F)                                                                       \
	F(u64, version)                                                                            \
	F(blob, keys) /* cap_key */

/* Between members of metad's group, one-way: what the agreement on the log needs. kind and what each
 * field means: enum replica_message_kind and struct replica_message of metad/replica.h. The payload:
 * n_entries records of the log, as they are in its files. */
#define FF3_REQ_member(F)                                                                          \
	F(u64, to)                                                                                 \
	F(u32, kind)                                                                               \
	F(u32, flags) /* FF3_MEMBER_* */                                                           \
	F(u64, epoch)                                                                              \
	F(u64, last_seq)                                                                           \
	F(u64, last_epoch)                                                                         \
	F(u64, prev_seq)                                                                           \
	F(u64, prev_epoch)                                                                         \
	F(u64, commit_seq)                                                                         \
	F(u64, match_seq)                                                                          \
	F(u64, round)                                                                              \
	F(u64, check_seq)                                                                          \
	F(u64, check_hash)                                                                         \
	F(u32, n_entries)
#define FF3_REP_member(F)

/* One-way: a piece of a copy of the database for a member that lacks more than the log has; the payload
 * is its bytes from offset on. For a witness there are none: what it needs is all here. */
#define FF3_REQ_member_copy(F)                                                                     \
	F(u64, copy) /* chosen for each copy */                                                    \
	F(u64, size) /* of all of it */                                                            \
	F(u64, offset)                                                                             \
	F(u32, crc) /* CRC32C of the payload */                                                    \
	F(u64, cluster)                                                                            \
	F(u64, log_key)                                                                            \
	F(u64, seq)   /* the last operation in it */                                               \
	F(u64, epoch) /* of which it was, */                                                       \
	F(u64, hash)                                                                               \
	F(blob, members) /* u64 id, log, bits of each (1: voter, 2: witness) */
#define FF3_REP_member_copy(F)

/* One-way, the answer: so many bytes are here and safe; all of them: the member starts anew with it. */
#define FF3_REQ_member_copied(F)                                                                   \
	F(u64, copy)                                                                               \
	F(u64, offset)
#define FF3_REP_member_copied(F)

/* Bytes [offset, offset + length) of chunk {ino, index}. The payload is what exists of them;
 * it ends early where the chunk ends. crcs has one u32 CRC32C for each piece that the chunk's
 * 4 KiB blocks cut the payload into: for whole blocks those that were stored, with which the daemon
 * has compared what it read from the disk, unless flags say that the client does. chunk_size is the
 * chunk's length, 0 if there is none. */
#define FF3_REQ_chunk_read(F)                                                                      \
	F(u64, ino)                                                                                \
	F(u32, index)                                                                              \
	F(u32, chain)                                                                              \
	F(u64, chain_version)                                                                      \
	F(u32, offset)                                                                             \
	F(u32, length)                                                                             \
	F(u32, flags)
#define FF3_REP_chunk_read(F)                                                                      \
	F(u32, chunk_size)                                                                         \
	F(u64, version)                                                                            \
	F(blob, crcs)

/* The payload goes to offset; a gap between the chunk's end and offset becomes zeros. crcs as
 * above. A repeated tag (session, seq) is answered again without being applied. */
#define FF3_REQ_chunk_write(F)                                                                     \
	F(u64, ino)                                                                                \
	F(u32, index)                                                                              \
	F(u32, chain)                                                                              \
	F(u64, chain_version)                                                                      \
	F(u32, offset)                                                                             \
	F(u32, flags) /* FF3_WRITE_* */                                                            \
	F(u64, session)                                                                            \
	F(u64, seq)                                                                                \
	F(blob, crcs)
#define FF3_REP_chunk_write(F)                                                                     \
	F(u32, chunk_size)                                                                         \
	F(u64, version)                                                                            \
	F(u64, instance)

/* Everything this target holds of ino is durable. instance: of the daemon that accepted the
 * caller's unsynced writes; another one answers INSTANCE, because they are lost. 0: the caller wrote
 * nothing, and asks for what others did. */
#define FF3_REQ_chunk_sync(F)                                                                      \
	F(u64, ino)                                                                                \
	F(u64, instance)
#define FF3_REP_chunk_sync(F)

/* Durably removes chunks index > last and cuts chunk last to last_size (0 removes it). */
#define FF3_REQ_chunk_truncate(F)                                                                  \
	F(u64, ino)                                                                                \
	F(u32, last)                                                                               \
	F(u32, last_size)
#define FF3_REP_chunk_truncate(F)

/* Durably removes every chunk of these inodes. */
#define FF3_REQ_chunk_remove(F) F(blob, inos) /* u64 */
#define FF3_REP_chunk_remove(F) F(u64, n_removed)

/* Asks for a chunk's bytes to be read without the daemon, until it revokes that. cap: for reading
 * ino, of this connection's session. How, depends on kind (FF3_EXPOSED_*):
 *   mapped   two descriptors come with the reply: the chunk's memory, size bytes that begin with
 *            struct ff3_hot_header (hot.h), and the daemon's page of struct ff3_hot_life
 *   window   by RDMA READ of chunk_size bytes at addr with rkey; crcs has one u32 CRC32C per 4 KiB
 * EACCES: the cap is none for this, or old. EDQUOT: no room for it now. ENOENT: no such chunk.
 * EOPNOTSUPP: not over this connection. */
#define FF3_REQ_chunk_expose(F)                                                                    \
	F(u64, ino)                                                                                \
	F(u32, index)                                                                              \
	F(u32, chain)                                                                              \
	F(u64, chain_version)                                                                      \
	F(u32, flags) /* 0 */                                                                      \
	F(blob, cap)
#define FF3_REP_chunk_expose(F)                                                                    \
	F(u32, kind)                                                                               \
	F(u32, chunk_size)                                                                         \
	F(u64, version)                                                                            \
	F(u64, word) /* mapped: what the header's word is while it is exposed */                   \
	F(u64, size) /* mapped */                                                                  \
	F(u64, addr)                                                                               \
	F(u32, rkey)                                                                               \
	F(blob, crcs)

/* Every exposure of ino's chunks ends, and caps for it that are older than generation are refused.
 * From metad only. */
#define FF3_REQ_chunk_revoke(F)                                                                    \
	F(u64, ino)                                                                                \
	F(u64, generation)
#define FF3_REP_chunk_revoke(F)

/* What the target holds, in no order: a page after cursor (0: the first), of as many chunks as fit. A
 * chunk that exists all the while comes exactly once. cursor in the reply: for the next page; 0: that was
 * the last. */
#define FF3_REQ_chunk_list(F) F(u64, cursor)
#define FF3_REP_chunk_list(F)                                                                      \
	F(u64, cursor)                                                                             \
	F(blob, chunks) /* chunk */

/* Limits, in bytes unless said otherwise. */
#define FF3_NAME_MAX 255u
#define FF3_PATH_MAX 4096u
#define FF3_XATTR_NAME_MAX 255u
#define FF3_CAP_MAX 96u
#define FF3_TICKET_GROUPS 64u /* entries */
#define FF3_TICKET_MAX (2u * (20u + 4u * FF3_TICKET_GROUPS + 32u))
#define FF3_XATTR_SIZE_MAX 65536u
#define FF3_GROUPS_MAX 1024u /* entries */
#define FF3_BODY_MAX (1024u * 1024u)
#define FF3_PAYLOAD_MAX (4u * 1024u * 1024u)
#define FF3_CHUNK_SIZE_MIN (64u * 1024u)
#define FF3_CHUNK_SIZE_MAX (16u * 1024u * 1024u)
#define FF3_CHUNK_SIZE_DEFAULT (1024u * 1024u)
#define FF3_FILE_SIZE_MAX ((uint64_t)1 << 47) /* so that a chunk's index fits 32 bits */
#define FF3_READDIR_MAX (512u * 1024u)
