/* "host:port" and "[v6]:port" as every configuration key and route has them. */
#pragma once

#include <netdb.h>
#include <sys/un.h>

#include "../base/base.h"

enum { FF3_ADDR_TEXT = NI_MAXHOST + 16 };

/* Resolves address into a list for freeaddrinfo. Numeric addresses ask no resolver. flags:
 * AI_PASSIVE for listening, AI_NUMERICHOST for never asking one. -EINVAL: no such form;
 * -EHOSTUNREACH: the name has no address; -EAGAIN, -ENOMEM. */
int ff3_addr_resolve(const char *address, int flags, struct addrinfo **ret);
/* "127.0.0.1:4711" or "[::1]:4711" into text[FF3_ADDR_TEXT]. */
void ff3_addr_print(const struct sockaddr *addr, socklen_t len, char *text);
/* The local socket beside a TCP address: DIR/host:port. -ENAMETOOLONG. */
int ff3_addr_local(const char *dir, const char *address, struct sockaddr_un *ret);
/* The abstract socket beside the TCP socket that is bound to addr. Returns its length. */
socklen_t ff3_addr_abstract(const struct sockaddr *addr, socklen_t len, struct sockaddr_un *ret);
/* Both ends of the connected TCP socket fd are on this host. Congestion control then only costs
 * time: BBR, a common default, paces by timers. Takes the plainest for such a socket. Returns whether it is
 * one. */
bool ff3_addr_tune_local(int fd);
/* What such a socket got last was not sent by the core that the thread is on: both sides run at once. */
bool ff3_addr_is_apart(int fd);
