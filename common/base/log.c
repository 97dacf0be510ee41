#include "log.h"

#include <stdarg.h>
#include <stdio.h>

static const char *log_name = "ff3fs";
static enum ff3_log_level log_max = FF3_LOG_INFO;
static bool log_journal;

void ff3_log_open(const char *name, enum ff3_log_level max)
{
	log_name = name;
	log_max = max;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
}

static void log_line(enum ff3_log_level level, const char *cause, const char *format, va_list ap)
{
	char line[1024];
	int saved = errno, n = 0, r;

	if (level > log_max)
		return;
	if (log_journal)
		n = snprintf(line, sizeof line, "<%d>", level);
	else
		n = snprintf(line, sizeof line, "%s: ", log_name);
	r = vsnprintf(line + n, sizeof line - (size_t)n, format, ap);
	n = MIN(n + MAX(r, 0), (int)sizeof line - 2);
	if (cause) {
		r = snprintf(line + n, sizeof line - (size_t)n, ": %s", cause);
		n = MIN(n + MAX(r, 0), (int)sizeof line - 2);
	}
	line[n++] = '\n';
	/* One write a line, so that lines of several threads do not mix. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		log_max = FF3_LOG_ERROR;
	errno = saved;
}

void ff3_log(enum ff3_log_level level, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_line(level, NULL, format, ap);
	va_end(ap);
}

int ff3_log_errno(int r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_line(FF3_LOG_ERROR, ff3_strerror(r), format, ap);
	va_end(ap);
	return r;
}
