/* Streams of wide characters. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <locale.h>
#include <stdarg.h>
#include <wchar.h>

#ifndef VIA_SYSCALL
wchar_t *__fgetws_chk(wchar_t *, size_t, int, FILE *);
wchar_t *__fgetws_unlocked_chk(wchar_t *, size_t, int, FILE *);
int __fwprintf_chk(FILE *, int, const wchar_t *, ...);
int __vfwprintf_chk(FILE *, int, const wchar_t *, va_list);
int __vwprintf_chk(int, const wchar_t *, va_list);
int __wprintf_chk(int, const wchar_t *, ...);
int __isoc99_fwscanf(FILE *, const wchar_t *, ...), __isoc99_wscanf(const wchar_t *, ...);

#define STATE(f) say("eof %d error %d", feof(f) != 0, ferror(f) != 0)

static void fill(const char *name, const void *data, size_t n)
{
	int fd = (open)(P(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if ((write)(fd, data, n) != (ssize_t)n)
		abort();
	(close)(fd);
}
#define FILL(name, text) fill(name, text, sizeof(text) - 1)

static void read_all(const char *name)
{
	FILE *f = fopen(P(name), "r");

	for (int i = 0; i < 12; i++) {
		wint_t c;

		errno = 0;
		c = i % 2 ? fgetwc(f) : (getwc_unlocked)(f);
		say("U+%lx %s", (long)c, errno ? strerrorname_np(errno) : "");
		if (c == WEOF)
			STATE(f);
	}
	clearerr(f);
	R(fgetwc(f));
	STATE(f);
	R(fclose(f));
}

CASE(wide_reading)
{
	static const char *const locales[] = { "C.UTF-8", "C" };

	FILL("plain", "abc\n");
	FILL("multi", "a\xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80\0z");
	FILL("invalid", "a\xffz");
	FILL("surrogate", "a\xed\xa0\x80z");
	FILL("cut", "a\xe4\xb8z");
	FILL("end", "a\xe4\xb8");
	FILL("empty", "");
	for (int i = 0; i < 2; i++) {
		say("%s", setlocale(LC_ALL, locales[i]));
		read_all("plain");
		read_all("multi");
		read_all("invalid");
		read_all("surrogate");
		read_all("cut");
		read_all("end");
		read_all("empty");
	}
}

CASE(wide_long)
{
	static wchar_t line[5000];
	unsigned long sum = 0;
	wint_t c;
	FILE *f;

	setlocale(LC_ALL, "C.UTF-8");
	f = fopen(P("long"), "w");
	for (int i = 0; i < 20000; i++)
		fwprintf(f, L"%d \u4e2d\u00e4\n", i);
	R(fclose(f));
	f = fopen(P("long"), "r");
	while ((c = fgetwc(f)) != WEOF)
		sum = sum * 31 + c;
	R(sum);
	STATE(f);
	rewind(f);
	for (sum = 0; fgetws(line, 5000, f); sum++)
		if (wcstol(line, NULL, 10) != sum)
			say("line %ld: %ls", sum, line);
	R(sum);
	R(fclose(f));
	wmemset(line, L'\u00e4', 4999);
	f = fopen(P("long"), "w");
	R(fputws(line, f));
	R(fclose(f));
	f = fopen(P("long"), "r");
	R(fgetws(line, 5000, f) == line && wcslen(line) == 4999 && line[4998] == L'\u00e4');
	R(fclose(f));
	setlocale(LC_ALL, "C");
}

CASE(wide_lines)
{
	wchar_t line[32];
	FILE *f;

	setlocale(LC_ALL, "C.UTF-8");
	FILL("lines", "\xc3\xa4\xc3\xb6\nsecond line\nth\xff ird");
	f = fopen(P("lines"), "r");
	R(fgetws(line, 0, f) == NULL);
	R(fgetws(line, 1, f) == line && line[0] == 0);
	R(fgetws(line, 32, f) == line);
	say("%ls", line);
	R(fgetws_unlocked(line, 4, f) == line);
	say("%ls", line);
	R(__fgetws_chk(line, 32, 6, f) == line);
	say("%ls", line);
	R(__fgetws_unlocked_chk(line, 5, 32, f) == line);
	say("%ls", line);
	R(fgetws(line, 32, f) == NULL);
	STATE(f);
	R(fgetws(line, 32, f) == NULL);
	R(fclose(f));
	f = fopen(P("lines"), "w");
	R(fgetws(line, 32, f) == NULL);
	R(fgetwc(f));
	STATE(f);
	R(fclose(f));
	setlocale(LC_ALL, "C");
}

CASE(wide_pushed_back)
{
	FILE *f;

	setlocale(LC_ALL, "C.UTF-8");
	FILL("f", "\xc3\xa4z");
	f = fopen(P("f"), "r");
	R(fgetwc(f));
	R(ungetwc(0x4e2d, f));
	R(fgetwc(f));
	R(fgetwc(f));
	R(fgetwc(f));
	STATE(f);
	R(ungetwc(WEOF, f));
	STATE(f);
	R(ungetwc('q', f));
	STATE(f);
	R(fgetwc(f));
	R(fseek(f, 0, SEEK_SET));
	R(fgetwc(f));
	R(ftell(f));
	R(ungetwc(0xe4, f));
	R(fgetwc(f));
	R(fseek(f, 2, SEEK_SET));
	R(getwc(f));
	R(fclose(f));
	setlocale(LC_ALL, "C");
}

static int print(FILE *f, int how, const wchar_t *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = how == 0 ? vfwprintf(f, format, ap) :
	    how == 1 ? __vfwprintf_chk(f, 1, format, ap) :
	    how == 2 ? vwprintf(format, ap) :
		       __vwprintf_chk(1, format, ap);
	va_end(ap);
	return r;
}

CASE(wide_writing)
{
	FILE *f;

	setlocale(LC_ALL, "C.UTF-8");
	f = fopen(P("out"), "w");
	R(fputwc(0xe4, f));
	R(putwc(0x4e2d, f));
	R(fputwc_unlocked(0x1f600, f));
	R(putwc_unlocked('\n', f));
	R(fputwc(0, f));
	R(fputws(L"text \u4e2d\n", f));
	R(fputws_unlocked(L"", f));
	R(fwprintf(f, L"%d %s %ls %5.2f\n", 42, "b\xc3\xa4", L"\u00e4\u00f6", 1.5));
	R(fwprintf(f, L"%s", "\xff"));
	R(__fwprintf_chk(f, 1, L"%*d|%-6ls|\n", 5, 7, L"\u4e2d"));
	R(print(f, 0, L"%d\n", 1));
	R(print(f, 1, L"%d\n", 2));
	R(fflush(f));
	R(ftell(f));
	R(fgetwc(f));
	STATE(f);
	R(fclose(f));
	contents("out");
	f = fopen(P("out"), "r");
	R(fputws(L"no", f) < 0 || fflush(f) < 0 || ferror(f) != 0);
	fclose(f);
	setlocale(LC_ALL, "C");
	f = fopen(P("ascii"), "w");
	R(fputwc(0xe4, f));
	R(fputws(L"a\u00ab\u4e2d\u20acz\n", f));
	R(fclose(f));
	contents("ascii");
}

CASE(wide_orientation)
{
	wchar_t line[8];
	FILE *f;

	FILL("f", "0123456789");
	f = fopen(P("f"), "r+");
	R(fwide(f, 0));
	R(fwide(f, -1));
	R(fwide(f, 1));
	R(fgetwc(f));
	R(fputwc('x', f));
	R(fputws(L"x", f));
	R(fwprintf(f, L"x"));
	R(fgetws(line, 8, f) == NULL);
	STATE(f);
	R(fgetc(f));
	R(fclose(f));
	f = fopen(P("f"), "r");
	R(fwide(f, 1));
	R(fwide(f, -1));
	R(fgetwc(f));
	R(fwide(f, 0));
	f = freopen(P("f"), "r", f);
	R(fwide(f, 0));
	R(fgetc(f));
	R(fwide(f, 0));
	R(fgetwc(f));
	R(fclose(f));
	f = fopen(P("f"), "r");
	R(fgetwc(f));
	R(fwide(f, 0));
	R(fclose(f));
	f = fdopen((open)(P("f"), O_RDWR), "r+");
	R(fputwc('A', f));
	R(fwide(f, 0));
	R(fclose(f));
	contents("f");
}

static int scan(FILE *f, const wchar_t *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = vfwscanf(f, format, ap);
	va_end(ap);
	return r;
}

/* It is right, or refused; never wrong. */
CASE(wide_scanning)
{
	FILE *f;
	int n = 0;

	FILL("numbers", "7 7 7");
	f = fopen(P("numbers"), "r");
#define RIGHT_OR_REFUSED(call)                                                                     \
	R((n = 0, errno = 0, call) == 1 ? n == 7 : n == 0 && errno == EOPNOTSUPP)
	RIGHT_OR_REFUSED(fwscanf(f, L"%d", &n));
	RIGHT_OR_REFUSED(scan(f, L"%d", &n));
	RIGHT_OR_REFUSED(__isoc99_fwscanf(f, L"%d", &n));
	R(fclose(f));
	f = fopen("/proc/sys/kernel/ngroups_max", "r");
	R(fwscanf(f, L"%d", &n));
	R(n);
	R(fclose(f));
}

static void characters_of_stdin(void)
{
	wint_t c;

	setlocale(LC_ALL, "C.UTF-8");
	if (!freopen(P("in"), "r", stdin) || !freopen(P("out"), "w", stdout))
		_exit(1);
	putwchar(getwchar());
	while ((c = getwchar_unlocked()) != WEOF)
		putwchar_unlocked(c);
	wprintf(L"%ls %d\n", L"\u4e2d", feof(stdin) != 0);
	__wprintf_chk(1, L"%d\n", 5);
	print(NULL, 2, L"%d\n", 6);
	print(NULL, 3, L"%d\n", 7);
}

static void held_for_dup2(void)
{
	setlocale(LC_ALL, "C.UTF-8");
	if (!freopen("/dev/null", "w", stdout))
		_exit(1);
	wprintf(L"held \u4e2d\n");
	(dup2)((open)(P("out2"), O_WRONLY | O_CREAT, 0600), 1);
	wprintf(L"through dup2 \u00e4\n");
}

CASE(wide_standard_streams)
{
	FILL("in", "\xc3\xa4\xe4\xb8\xad\nsecond\n");
	in_child(characters_of_stdin);
	contents("out");
	in_child(held_for_dup2);
	contents("out2");
}
#endif
