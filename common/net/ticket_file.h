/* The file of a ticket, or of a key: one line. For all who carry one; what is in it is ticket.h's. */
#pragma once

#include "../wire/wire.h"

/* The line, without its end. Returns its length; -EBADMSG: there is more; or why it cannot be read. */
int ff3_ticket_read(const char *file, char ret[FF3_TICKET_MAX + 1]);
