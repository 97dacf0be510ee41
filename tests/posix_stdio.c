/* Streams. */
#define _GNU_SOURCE
#include "posix_diff.h"

#include <stdarg.h>
#include <stdio_ext.h>
#include <wchar.h>

#ifndef VIA_SYSCALL
int __uflow(FILE *), __overflow(FILE *, int);
FILE *_IO_fopen(const char *, const char *), *_IO_fdopen(int, const char *);

static int vprint(FILE *f, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = vfprintf(f, format, ap);
	va_end(ap);
	return r;
}

CASE(stdio_modes)
{
	static const char *const modes[] = { "r", "r+", "w", "w+", "a", "a+", "rb", "wx", "w+x", "re", "rm",
					     "", "z", "rw", "ab+", "wex" };
	static const char *const files[] = { "f", "none", "d", "l", "dang", "none/x", "f/x" };

	R(mkdir(P("d"), 0755));
	R(symlink("f", P("l")));
	for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
		for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
			FILE *f;
			char c;

			put("f", "text");
			(unlink)(P("none")), (unlink)(P("dang")), (unlink)(P("nowhere"));
			(symlink)("nowhere", P("dang"));
			errno = 0;
			f = fopen(P(files[i]), modes[m]);
			if (!f) {
				say("fopen %s %s: %s", files[i], modes[m], strerrorname_np(errno));
				continue;
			}
			say("fopen %s %s: fd %d flags %o, %o; %d %d %d %d", files[i], modes[m], fileno(f),
			    fcntl(fileno(f), F_GETFL) & ~0100000, fcntl(fileno(f), F_GETFD),
			    (int)fread(&c, 1, 1, f), ferror(f) != 0, (int)ftell(f), feof(f));
			clearerr(f);
			errno = 0;
			rewind(f);
			say("  %d %s", fputc('x', f), errno ? strerrorname_np(errno) : "");
			R(fclose(f));
			contents("f");
		}
}

CASE(stdio_reading)
{
	char buf[64] = "", word[16];
	int a, b;
	FILE *f;
	fpos_t pos;

	put("f", "line one\nline two\n12 34 word\nlast");
	f = fopen(P("f"), "r");
	PTR(fgets(buf, sizeof buf, f));
	say("%s", buf);
	R(ftell(f));
	R(lseek(fileno(f), 0, SEEK_CUR) >= 9);
	R(fgetc(f));
	R((getc)(f));
	R(ungetc('Q', f));
	R(fgetc(f));
	R(fgetpos(f, &pos));
	R(fseek(f, 18, SEEK_SET));
	R(fscanf(f, "%d %d %15s", &a, &b, word));
	say("%d %d %s", a, b, word);
	R(fsetpos(f, &pos));
	R(ftello(f));
	R(fseeko(f, -4, SEEK_END));
	R(fread(buf, 1, 10, f));
	R(feof(f) != 0);
	R(ferror(f));
	clearerr(f);
	R(feof(f));
	R(fseeko64(f, 0, SEEK_SET));
	R(ftello64(f));
	R(fseek(f, -1, SEEK_SET));
	R(fputc('x', f));
	R(ferror(f) != 0);
	rewind(f);
	R(ferror(f));
	R(__uflow(f));
	R(fread(buf, 4, 2, f));
	R(fclose(f));
	f = fopen64(P("f"), "r");
	R(setvbuf(f, NULL, _IONBF, 0));
	R(fgetc(f));
	R(lseek(fileno(f), 0, SEEK_CUR));
	R(fclose(f));
}

CASE(stdio_writing)
{
	char line[64] = "", *grown = NULL;
	size_t room = 0;
	FILE *f = fopen(P("f"), "w+");

	R(fputs("hello ", f));
	R(fwrite("world", 1, 5, f));
	R(fprintf(f, " %d", 42));
	R(vprint(f, " %s\n", "va"));
	R(fputc('c', f));
	R(__overflow(f, 'd'));
	R(ftell(f));
	facts("f");
	R(fflush(f));
	facts("f");
	R(fseek(f, 6, SEEK_SET));
	PTR(fgets(line, sizeof line, f));
	say("%s", line);
	R(fseek(f, 0, SEEK_END));
	R(fputs("end\n", f));
	rewind(f);
	R(getline(&grown, &room, f));
	R(getdelim(&grown, &room, 'e', f));
	R(ftruncate(fileno(f), 3));
	R(fseek(f, 10, SEEK_SET));
	R(fputs("far", f));
	R(fclose(f));
	contents("f");
	f = fopen(P("f"), "a+");
	R(fgetc(f));
	R(fputs("appended", f));
	R(ftell(f));
	R(fclose(f));
	contents("f");
	free(grown);
}

CASE(stdio_descriptors)
{
	int fd = make("f", "0123456789"), rd = R(open(P("f"), O_RDONLY)), wr = R(open(P("f"), O_WRONLY));
	FILE *f, *g;
	char c;

	PTR(fdopen(rd, "w"));
	PTR(fdopen(wr, "r"));
	PTR(fdopen(rd, "r+"));
	PTR(fdopen(99, "r"));
	PTR(fdopen(fd, "z"));
	PTR(fdopen(open(P("f"), O_PATH), "r"));
	f = fdopen(fd, "r+");
	R(fgetc(f));
	R(fileno(f) == fd);
	R(fflush(f));
	R(lseek(fd, 0, SEEK_CUR));
	g = _IO_fdopen(wr, "a");
	R(fcntl(wr, F_GETFL) & ~0100000);
	R(fputs("++", g));
	R(fclose(g));
	R(write(wr, "x", 1));
	contents("f");
	g = freopen(P("g"), "w", f);
	R(g == f);
	R(fputs("reopened", f));
	R(fclose(f));
	contents("g");
	f = _IO_fopen(P("f"), "r");
	f = freopen64(P("none"), "r", f);
	PTR(f);
	f = fopen(P("f"), "r");
	f = freopen(NULL, "r+", f);
	PTR(f);
	if (f) {
		R(fgetc(f));
		fclose(f);
	}
	(void)c;
	f = tmpfile();
	PTR(f);
	R(fputs("tmp", f));
	R(fclose(f));
}

/* Buffers of the program's own; a stream is asked for its buffer before it has a direction. */
CASE(stdio_buffers)
{
	char own[64], back[16] = "";
	FILE *f = fopen(P("f"), "w+");

	setbuffer(f, own, 5);
	R(fputs("0123456789", f));
	R(fseek(f, 3, SEEK_SET));
	R(fread(back, 1, 4, f));
	say("%s", back);
	R(fclose(f));
	f = fdopen(make("g", "abc"), "r+");
	setbuf(f, NULL);
	R(fgetc(f));
	R(fputc('x', f));
	R(fclose(f));
	contents("g");
	f = fopen(P("h"), "w");
	setlinebuf(f);
	R(fputs("line\nrest", f));
	contents("h");
	R(fclose(f));
	contents("h");
}

/* A stream that cannot be opened again is closed, and fclose may be called all the same. */
CASE(stdio_failed_freopen)
{
	char *memory = NULL;
	size_t size;
	FILE *f = fopen(P("f"), "w");
	int fd = fileno(f);

	R(fputs("kept", f));
	PTR(freopen(P("none/x"), "r", f));
	contents("f");
	R((close)(fd));
	R(fgetc(f));
	R(fclose(f));
	f = fopen(P("f"), "r");
	PTR(freopen(P("none"), "r", f));
	PTR(freopen(P("f"), "r", f));
	R(fgetc(f));
	R(fclose(f));
	f = open_memstream(&memory, &size);
	R(fputs("in memory", f));
	say("%s", freopen(P("none"), "r", f) ? "opened" : "not there");
	say("%s", memory);
	R(fclose(f));
	free(memory);
	PTR(fopen(P("f"), "r,ccs=no-such-encoding"));
}

static void lines_of_stdin(void)
{
	char line[64];

	if (!freopen(P("in"), "r", stdin) || !freopen(P("out"), "w", stdout))
		_exit(1);
	while (fgets(line, sizeof line, stdin))
		printf("got %s", line);
	printf("%d\n", fileno(stdin));
}

static void stdout_by_dup2(void)
{
	int fd = (open)(P("out2"), O_WRONLY | O_CREAT, 0600);

	(dup2)(fd, 1);
	(close)(fd);
	printf("through dup2\n");
}

CASE(stdio_standard_streams)
{
	put("in", "first\nsecond\n");
	in_child(lines_of_stdin);
	contents("out");
	in_child(stdout_by_dup2);
	contents("out2");
	R(system("exit 3"));
}
#endif
