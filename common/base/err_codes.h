/* The one table of errors that can cross the wire or leave the library.
 *
 *   E(wire number, name, errno shown to the application, class, text)
 *
 * Wire numbers are never reused. Rows of FF3_ERRNOS are the errnos themselves (their negative
 * value is used inside); rows of FF3_DOMAIN_ERRORS have a negative code of their own, below
 * every errno. Classes tell the caller what can still work:
 *   FINAL          the answer is the answer
 *   RETRY_SAME     the same request may succeed on the same peer
 *   RETRY_REPLICA  another member of the chain may serve it
 *   REFRESH_ROUTE  the caller's routing table is old */
#pragma once

#define FF3_ERRNOS(E)                                                                              \
	E(1, EPERM, FINAL)                                                                         \
	E(2, ENOENT, FINAL)                                                                        \
	E(4, EINTR, RETRY_SAME)                                                                    \
	E(5, EIO, RETRY_REPLICA)                                                                   \
	E(6, ENXIO, FINAL)                                                                         \
	E(7, E2BIG, FINAL)                                                                         \
	E(9, EBADF, FINAL)                                                                         \
	E(11, EAGAIN, RETRY_SAME)                                                                  \
	E(12, ENOMEM, RETRY_SAME)                                                                  \
	E(13, EACCES, FINAL)                                                                       \
	E(14, EFAULT, FINAL)                                                                       \
	E(16, EBUSY, FINAL)                                                                        \
	E(17, EEXIST, FINAL)                                                                       \
	E(18, EXDEV, FINAL)                                                                        \
	E(19, ENODEV, FINAL)                                                                       \
	E(20, ENOTDIR, FINAL)                                                                      \
	E(21, EISDIR, FINAL)                                                                       \
	E(22, EINVAL, FINAL)                                                                       \
	E(24, EMFILE, FINAL)                                                                       \
	E(25, ENOTTY, FINAL)                                                                       \
	E(26, ETXTBSY, FINAL)                                                                      \
	E(27, EFBIG, FINAL)                                                                        \
	E(28, ENOSPC, FINAL)                                                                       \
	E(29, ESPIPE, FINAL)                                                                       \
	E(30, EROFS, FINAL)                                                                        \
	E(31, EMLINK, FINAL)                                                                       \
	E(34, ERANGE, FINAL)                                                                       \
	E(35, EDEADLK, FINAL)                                                                      \
	E(36, ENAMETOOLONG, FINAL)                                                                 \
	E(37, ENOLCK, FINAL)                                                                       \
	E(38, ENOSYS, FINAL)                                                                       \
	E(39, ENOTEMPTY, FINAL)                                                                    \
	E(40, ELOOP, FINAL)                                                                        \
	E(61, ENODATA, FINAL)                                                                      \
	E(71, EPROTO, FINAL)                                                                       \
	E(74, EBADMSG, FINAL)                                                                      \
	E(75, EOVERFLOW, FINAL)                                                                    \
	E(95, EOPNOTSUPP, FINAL)                                                                   \
	E(104, ECONNRESET, RETRY_SAME)                                                             \
	E(107, ENOTCONN, RETRY_SAME)                                                               \
	E(110, ETIMEDOUT, RETRY_SAME)                                                              \
	E(111, ECONNREFUSED, RETRY_SAME)                                                           \
	E(113, EHOSTUNREACH, RETRY_SAME)                                                           \
	E(116, ESTALE, FINAL)                                                                      \
	E(122, EDQUOT, FINAL)                                                                      \
	E(125, ECANCELED, FINAL)

#define FF3_DOMAIN_ERRORS(E)                                                                       \
	E(4096, VERSION, EPROTO, FINAL, "peer speaks another protocol version")                    \
	E(4097, CLUSTER, EPROTO, FINAL, "peer belongs to another cluster")                         \
	E(4098, CHECKSUM, EIO, RETRY_REPLICA, "stored checksum does not match the data")           \
	E(4099, CHAIN_VERSION, EIO, REFRESH_ROUTE, "chain version is not current")                 \
	E(4100, NO_TARGET, EIO, REFRESH_ROUTE, "target is not served here")                        \
	E(4101, OFFLINE, EIO, RETRY_REPLICA, "target is offline after a disk error")               \
	E(4102, INSTANCE, EIO, FINAL, "daemon restarted and lost unsynced bytes")                  \
	E(4103, REDIRECT, ELOOP, FINAL, "path leaves the file system")                             \
	E(4104, NOT_PRIMARY, EIO, REFRESH_ROUTE, "this metadata server is not the primary")        \
	E(4105, CREDENTIAL, EACCES, FINAL, "no ticket that is good")
