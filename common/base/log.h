/* Logging for daemons and tools: one line to stderr, with a <N> priority prefix when stderr is a
 * journal. common/ itself logs nothing above debug: it returns. The shim does not use this.
 * Thread-safe; preserves errno; not for signal handlers. */
#pragma once

#include "base.h"
#include "err.h"

enum ff3_log_level {
	FF3_LOG_ERROR = 3,
	FF3_LOG_WARNING = 4,
	FF3_LOG_NOTICE = 5,
	FF3_LOG_INFO = 6,
	FF3_LOG_DEBUG = 7,
};

/* name is kept, not copied: "ff3fs-metad". Lines above max are dropped. */
void ff3_log_open(const char *name, enum ff3_log_level max);
void ff3_log(enum ff3_log_level level, const char *format, ...) PRINTF_LIKE(2, 3);
/* Logs "text: cause" and returns r, so that `return ff3_log_errno(r, "cannot …")` reads well. */
int ff3_log_errno(int r, const char *format, ...) PRINTF_LIKE(2, 3);

#define ff3_error(...) ff3_log(FF3_LOG_ERROR, __VA_ARGS__)
#define ff3_warning(...) ff3_log(FF3_LOG_WARNING, __VA_ARGS__)
#define ff3_notice(...) ff3_log(FF3_LOG_NOTICE, __VA_ARGS__)
#define ff3_info(...) ff3_log(FF3_LOG_INFO, __VA_ARGS__)
#define ff3_debug(...) ff3_log(FF3_LOG_DEBUG, __VA_ARGS__)
