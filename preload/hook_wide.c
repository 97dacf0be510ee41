/* Purpose: wide characters on our streams. A stream of ours is an fopencookie stream (hook_stdio.c),
 * and libc gives such a stream no room for wide characters: its own functions would fault. Ours convert
 * to and from bytes, one call at a time, and hand those to libc's functions of bytes on the same
 * stream, so the two kinds of positions cannot differ. Bytes that are not a character yet, or never
 * will be, go back into the stream.
 *
 * As in libc a stream is oriented by its first call: libc's functions of bytes say so in the stream's
 * _mode, ours in `oriented`. Other than in libc, bytes can still be read and written afterwards.
 * A stream of libc's own passes after one load while there are none of ours. Formatted input is refused.
 *
 * Threads: under the stream's lock, as libc's. Fork: nothing of its own. Signals: as stdio, not safe. */
#include "hook.h"

#include <iconv.h>
#include <langinfo.h>
#include <stdarg.h>
#include <wchar.h>

static inline struct stdio_wide *wide_of(FILE *f)
{
	return LIKELY(!stdio_any()) ? NULL : stdio_find_wide(f);
}

/* The first call that cares decides. False: a stream of bytes. */
static bool orient(FILE *f, struct stdio_wide *w)
{
	if (!w->oriented && f->_mode == 0)
		w->oriented = true;
	return w->oriented;
}

static void unlock_stream(FILE **f)
{
	funlockfile(*f);
}

#define LOCKED(f)                                                                                  \
	__attribute__((cleanup(unlock_stream))) FILE *_locked = (f);                               \
	flockfile(_locked)

static wint_t not_a_character(FILE *f, mbstate_t *state)
{
	*state = (mbstate_t){ 0 };
	f->_flags |= _IO_ERR_SEEN;
	errno = EILSEQ;
	return WEOF;
}

/* --- Reading ------------------------------------------------------------------------------- */

static bool unread(const char *bytes, size_t n, FILE *f)
{
	while (n > 0)
		if (ungetc((unsigned char)bytes[--n], f) == EOF)
			return false;
	return true;
}

static wint_t get_wide(FILE *f, struct stdio_wide *w)
{
	char bytes[MB_LEN_MAX];
	mbstate_t before = w->in;
	size_t n = 0, r;
	wchar_t c;

	if (!orient(f, w))
		return WEOF;
	do {
		int byte = getc_unlocked(f), error = errno;

		if (byte == EOF) { /* what there is of a character may get its rest later */
			int flags = f->_flags & (_IO_EOF_SEEN | _IO_ERR_SEEN);

			unread(bytes, n, f);
			f->_flags |= flags;
			w->in = before;
			errno = error;
			return WEOF;
		}
		bytes[n] = (char)byte;
		r = mbrtowc(&c, &bytes[n++], 1, &w->in);
		if (r == 0 || r == 1)
			return (wint_t)c;
	} while (r == (size_t)-2 && n < sizeof bytes);
	unread(bytes, n, f);
	return not_a_character(f, &w->in);
}

/* libc's end for a buffer that is too small; another libc has none, and the shim does nothing there. */
_Noreturn void __chk_fail(void) __attribute__((weak));

/* A line may well be shorter than n: only what does not fit in `size` is too much. */
static wchar_t *get_wide_line(wchar_t *s, size_t size, int n, FILE *f, struct stdio_wide *w)
{
	int before = f->_flags & _IO_ERR_SEEN;
	size_t k = 0;
	bool failed;

	if (n <= 0)
		return NULL;
	f->_flags &= ~_IO_ERR_SEEN;
	while (k < (size_t)n - 1 && k < size) {
		wint_t c = get_wide(f, w);

		if (c == WEOF)
			break;
		s[k++] = (wchar_t)c;
		if (c == L'\n')
			break;
	}
	failed = (n > 1 && k == 0) || ((f->_flags & _IO_ERR_SEEN) && errno != EAGAIN);
	f->_flags |= before;
	if (failed)
		return NULL;
	if (k >= size)
		__chk_fail();
	s[k] = L'\0';
	return s;
}

wint_t hook_fgetwc_unlocked(FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	return LIKELY(!w) ? REAL(fgetwc_unlocked)(f) : get_wide(f, w);
}

wint_t hook_fgetwc(FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fgetwc)(f);
	LOCKED(f);
	return get_wide(f, w);
}

/* libc's own looks at stdin too; but it is the program's that counts. */
wint_t hook_getwchar(void)
{
	return hook_fgetwc(stdin);
}

wint_t hook_getwchar_unlocked(void)
{
	return hook_fgetwc_unlocked(stdin);
}

wchar_t *hook_fgetws_unlocked(wchar_t *s, int n, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	return LIKELY(!w) ? REAL(fgetws_unlocked)(s, n, f) :
			    get_wide_line(s, SIZE_MAX, n, f, w);
}

wchar_t *hook_fgetws(wchar_t *s, int n, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fgetws)(s, n, f);
	LOCKED(f);
	return get_wide_line(s, SIZE_MAX, n, f, w);
}

wchar_t *hook___fgetws_unlocked_chk(wchar_t *s, size_t size, int n, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	return LIKELY(!w) ? REAL(__fgetws_unlocked_chk)(s, size, n, f) :
			    get_wide_line(s, size, n, f, w);
}

wchar_t *hook___fgetws_chk(wchar_t *s, size_t size, int n, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(__fgetws_chk)(s, size, n, f);
	LOCKED(f);
	return get_wide_line(s, size, n, f, w);
}

wint_t hook_ungetwc(wint_t c, FILE *f)
{
	struct stdio_wide *w = wide_of(f);
	char bytes[MB_LEN_MAX];
	mbstate_t state = { 0 };
	size_t n;

	if (LIKELY(!w))
		return REAL(ungetwc)(c, f);
	LOCKED(f);
	if (c == WEOF || !orient(f, w))
		return WEOF;
	n = wcrtomb(bytes, (wchar_t)c, &state);
	if (n == (size_t)-1)
		return WEOF;
	return unread(bytes, n, f) ? c : WEOF;
}

/* --- Writing ------------------------------------------------------------------------------- */

/* What libc's streams write for a character that the locale does not have. Its bytes, or 0. */
static size_t transliterate(wchar_t c, char *bytes, size_t size)
{
	char name[128], *in = (char *)&c, *out = bytes;
	size_t in_left = sizeof c, out_left = size;
	iconv_t with;

	snprintf(name, sizeof name, "%s//TRANSLIT", nl_langinfo(CODESET));
	with = iconv_open(name, "WCHAR_T");
	if (with == (iconv_t)-1)
		return 0;
	if (iconv(with, &in, &in_left, &out, &out_left) == (size_t)-1)
		out_left = size;
	iconv_close(with);
	return size - out_left;
}

/* 0, or -1 with errno. */
static int put_wide(const wchar_t *s, size_t n, FILE *f, struct stdio_wide *w)
{
	char bytes[512];
	size_t have = 0, r;
	int saved = errno;

	if (!orient(f, w))
		return -1;
	for (size_t i = 0; i < n; i++) {
		r = wcrtomb(bytes + have, s[i], &w->out);
		if (r == (size_t)-1) {
			w->out = (mbstate_t){ 0 };
			r = transliterate(s[i], bytes + have, sizeof bytes - have);
			errno = saved;
		}
		if (r == 0)
			break;
		have += r;
		if (have + 64 > sizeof bytes || i + 1 == n) { /* (64: a transliteration) */
			if (fwrite_unlocked(bytes, 1, have, f) != have)
				return -1;
			have = 0;
		}
		if (i + 1 == n)
			return 0;
	}
	if (n == 0)
		return 0;
	fwrite_unlocked(bytes, 1, have, f);
	not_a_character(f, &w->out);
	return -1;
}

wint_t hook_fputwc_unlocked(wchar_t c, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fputwc_unlocked)(c, f);
	return put_wide(&c, 1, f, w) < 0 ? WEOF : (wint_t)c;
}

wint_t hook_fputwc(wchar_t c, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fputwc)(c, f);
	LOCKED(f);
	return put_wide(&c, 1, f, w) < 0 ? WEOF : (wint_t)c;
}

wint_t hook_putwchar(wchar_t c)
{
	return hook_fputwc(c, stdout);
}

wint_t hook_putwchar_unlocked(wchar_t c)
{
	return hook_fputwc_unlocked(c, stdout);
}

int hook_fputws_unlocked(const wchar_t *s, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fputws_unlocked)(s, f);
	return put_wide(s, wcslen(s), f, w) < 0 ? -1 : 1;
}

int hook_fputws(const wchar_t *s, FILE *f)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fputws)(s, f);
	LOCKED(f);
	return put_wide(s, wcslen(s), f, w) < 0 ? -1 : 1;
}

int hook_fwide(FILE *f, int mode)
{
	struct stdio_wide *w = wide_of(f);

	if (LIKELY(!w))
		return REAL(fwide)(f, mode);
	LOCKED(f);
	if (mode > 0)
		orient(f, w);
	else if (mode < 0 && !w->oriented)
		f->_mode = -1;
	return w->oriented ? 1 : f->_mode;
}

/* --- Formatted ----------------------------------------------------------------------------- */

#define NO_FLAG -1 /* not the checking kind */

/* libc formats into memory, and that is written. */
static int print(FILE *f, struct stdio_wide *w, int flag, const wchar_t *format, va_list ap)
{
	wchar_t *text = NULL;
	size_t n = 0;
	FILE *memory;
	int r, error;

	LOCKED(f);
	if (!orient(f, w))
		return -1;
	memory = open_wmemstream(&text, &n);
	if (!memory)
		return -1;
	r = flag == NO_FLAG ? REAL(vfwprintf)(memory, format, ap) :
			      REAL(__vfwprintf_chk)(memory, flag, format, ap);
	error = errno;
	if (fclose(memory) != 0 && r >= 0) {
		error = errno;
		r = -1;
	}
	if (text && put_wide(text, n, f, w) < 0) {
		error = errno;
		r = -1;
	}
	free(text);
	errno = error;
	return r;
}

int hook_vfwprintf(FILE *f, const wchar_t *format, va_list ap)
{
	struct stdio_wide *w = wide_of(f);

	return LIKELY(!w) ? REAL(vfwprintf)(f, format, ap) : print(f, w, NO_FLAG, format, ap);
}

int hook___vfwprintf_chk(FILE *f, int flag, const wchar_t *format, va_list ap)
{
	struct stdio_wide *w = wide_of(f);

	return LIKELY(!w) ? REAL(__vfwprintf_chk)(f, flag, format, ap) :
			    print(f, w, flag, format, ap);
}

int hook_vwprintf(const wchar_t *format, va_list ap)
{
	return hook_vfwprintf(stdout, format, ap);
}

int hook___vwprintf_chk(int flag, const wchar_t *format, va_list ap)
{
	return hook___vfwprintf_chk(stdout, flag, format, ap);
}

/* The result of a function that takes a va_list, in one that takes what it is made of. */
#define WITH_LIST(last, call)                                                                      \
	({                                                                                         \
		va_list ap;                                                                        \
		int _r;                                                                            \
                                                                                                   \
		va_start(ap, last);                                                                \
		_r = (call);                                                                       \
		va_end(ap);                                                                        \
		_r;                                                                                \
	})

int hook_fwprintf(FILE *f, const wchar_t *format, ...)
{
	return WITH_LIST(format, hook_vfwprintf(f, format, ap));
}

int hook_wprintf(const wchar_t *format, ...)
{
	return WITH_LIST(format, hook_vfwprintf(stdout, format, ap));
}

int hook___fwprintf_chk(FILE *f, int flag, const wchar_t *format, ...)
{
	return WITH_LIST(format, hook___vfwprintf_chk(f, flag, format, ap));
}

int hook___wprintf_chk(int flag, const wchar_t *format, ...)
{
	return WITH_LIST(format, hook___vfwprintf_chk(stdout, flag, format, ap));
}

static int no_scan(void)
{
	errno = EOPNOTSUPP;
	return EOF;
}

/* Three of each: the standards differ in what %a and %i take. */
#define SCANNERS(prefix)                                                                           \
	int hook_##prefix##vfwscanf(FILE *f, const wchar_t *format, va_list ap)                    \
	{                                                                                          \
		return LIKELY(!wide_of(f)) ? REAL(prefix##vfwscanf)(f, format, ap) : no_scan();    \
	}                                                                                          \
	int hook_##prefix##vwscanf(const wchar_t *format, va_list ap)                              \
	{                                                                                          \
		return hook_##prefix##vfwscanf(stdin, format, ap);                                 \
	}                                                                                          \
	int hook_##prefix##fwscanf(FILE *f, const wchar_t *format, ...)                            \
	{                                                                                          \
		return WITH_LIST(format, hook_##prefix##vfwscanf(f, format, ap));                  \
	}                                                                                          \
	int hook_##prefix##wscanf(const wchar_t *format, ...)                                      \
	{                                                                                          \
		return WITH_LIST(format, hook_##prefix##vfwscanf(stdin, format, ap));              \
	}

SCANNERS()
SCANNERS(__isoc99_)
SCANNERS(__isoc23_)

DEFINE_ALIASES(wide)
