/* What the requests of a turn need from memory is asked for before they are served. */
#pragma once

#include "metad.h"

int metad_ahead_new(struct metad *m);
void metad_ahead_free(struct metad *m);
/* A request of a client has come. true: it is served by metad_ahead_run; else it may be served now. */
bool metad_ahead_take(struct metad *m, struct ff3_request *r);
void metad_ahead_run(struct metad *m);
void metad_ahead_conn_closed(struct metad *m, const struct ff3_conn *conn);
