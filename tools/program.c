/* Purpose: program.h: reads a program's ELF header. No state. */
#include "program.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_NONE
#endif

/* Functions of libc that touch files by name or descriptor. Those that the shim has are taken out by
 * what it exports; wrappers of those that it has are not named here. */
static const char *const file_functions[] = {
	"acct", "aio_cancel", "aio_cancel64", "aio_error", "aio_error64", "aio_fsync", "aio_fsync64",
	"aio_read", "aio_read64", "aio_return", "aio_return64", "aio_suspend", "aio_suspend64",
	"aio_write", "aio_write64", "chroot", "dlmopen", "execveat", "fanotify_mark", "fts64_open",
	"fts_open", "ftok", "io_destroy", "io_getevents", "io_setup", "io_submit",
	"io_uring_queue_init", "io_uring_queue_init_params", "io_uring_submit",
	"io_uring_submit_and_wait", "lio_listio", "lio_listio64", "mount", "name_to_handle_at",
	"open_by_handle_at", "open_tree", "pivot_root", "setmntent", "swapon", "umount2", "uselib",
	"ustat", "utmpname", "vmsplice", "wordexp",
};

struct image {
	const char *p;
	size_t size;
};

static const void *at(const struct image *m, uint64_t offset, uint64_t len)
{
	return offset <= m->size && len <= m->size - offset ? m->p + offset : NULL;
}

/* A string of the file that ends in it. */
static const char *string_at(const struct image *m, uint64_t offset)
{
	return offset < m->size && memchr(m->p + offset, '\0', m->size - offset) ? m->p + offset :
										    NULL;
}

static int map_file(const char *path, struct image *ret)
{
	_cleanup_(ff3_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	if (st.st_size == 0)
		return -ENOEXEC;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct image){ p, (size_t)st.st_size };
	return 0;
}

/* --- ELF ----------------------------------------------------------------------------------- */

static const ElfW(Phdr) *program_header(const struct image *m, unsigned i)
{
	const ElfW(Ehdr) *e = at(m, 0, sizeof *e);

	if (e->e_phentsize != sizeof(ElfW(Phdr)) || i >= e->e_phnum)
		return NULL;
	return at(m, e->e_phoff + (uint64_t)i * sizeof(ElfW(Phdr)), sizeof(ElfW(Phdr)));
}

static const ElfW(Phdr) *find_header(const struct image *m, uint32_t type)
{
	const ElfW(Phdr) *p;

	for (unsigned i = 0; (p = program_header(m, i)); i++)
		if (p->p_type == type)
			return p;
	return NULL;
}

/* The place in the file of an address in memory. */
static uint64_t offset_of(const struct image *m, uint64_t address)
{
	const ElfW(Phdr) *p;

	for (unsigned i = 0; (p = program_header(m, i)); i++)
		if (p->p_type == PT_LOAD && address >= p->p_vaddr &&
		    address - p->p_vaddr < p->p_filesz)
			return address - p->p_vaddr + p->p_offset;
	return UINT64_MAX;
}

/* The value of a dynamic entry; 0: there is none. */
static uint64_t dynamic_value(const struct image *m, int64_t tag)
{
	const ElfW(Phdr) *p = find_header(m, PT_DYNAMIC);
	const ElfW(Dyn) *d = p ? at(m, p->p_offset, p->p_filesz) : NULL;

	for (size_t i = 0; d && i < p->p_filesz / sizeof *d && d[i].d_tag != DT_NULL; i++)
		if (d[i].d_tag == tag)
			return d[i].d_un.d_val;
	return 0;
}

static bool is_go(const struct image *m)
{
	const ElfW(Phdr) *p;

	for (unsigned i = 0; (p = program_header(m, i)); i++) {
		const char *note = p->p_type == PT_NOTE ? at(m, p->p_offset, p->p_filesz) : NULL;

		/* The linker of Go names its notes "Go". */
		if (note && p->p_filesz >= 16 && memcmp(note + 12, "Go\0", 4) == 0)
			return true;
	}
	return false;
}

/* Calls fn with each name that the file imports (or, if defined, exports). */
static void each_symbol(const struct image *m, bool defined, void (*fn)(const char *, void *), void *arg)
{
	uint64_t symbols = offset_of(m, dynamic_value(m, DT_SYMTAB));
	uint64_t strings = offset_of(m, dynamic_value(m, DT_STRTAB));
	const ElfW(Sym) *s;

	/* The table of strings follows that of symbols, whose length is written nowhere. */
	for (uint64_t o = symbols; symbols < strings && o + sizeof *s <= strings; o += sizeof *s) {
		const char *name;

		s = at(m, o, sizeof *s);
		if (!s || strings == UINT64_MAX)
			return;
		name = string_at(m, strings + s->st_name);
		if (name && *name && (s->st_shndx != SHN_UNDEF) == defined)
			fn(name, arg);
	}
}

struct search {
	const char *name;
	bool found;
};

static void compare(const char *name, void *arg)
{
	struct search *s = arg;

	s->found |= strcmp(name, s->name) == 0;
}

static bool has_symbol(const struct image *m, bool defined, const char *name)
{
	struct search s = { name, false };

	each_symbol(m, defined, compare, &s);
	return s.found;
}

static void look_at_imports(const struct image *m, const char *shim, struct program *ret)
{
	struct image library;
	size_t n = 0;

	if (map_file(shim, &library) < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(file_functions); i++) {
		const char *name = file_functions[i];

		if (!has_symbol(m, false, name) || has_symbol(&library, true, name))
			continue;
		ret->facts |= PROGRAM_UNCOVERED;
		n += (size_t)snprintf(ret->imports + n, sizeof ret->imports - n, "%s%s", n ? " " : "",
				      name);
		n = MIN(n, sizeof ret->imports - 1);
	}
	munmap((void *)(uintptr_t)library.p, library.size);
}

static bool below(const char *path, size_t n, const char *prefixes)
{
	for (const char *p = prefixes; *p;) {
		size_t len = strcspn(p, ":");

		if (len > 1 && n >= len && strncmp(path, p, len) == 0 && (n == len || path[len] == '/'))
			return true;
		p += len + (p[len] == ':');
	}
	return false;
}

static void look_at_runpath(const struct image *m, const char *prefixes, struct program *ret)
{
	uint64_t value = dynamic_value(m, DT_RUNPATH);
	const char *list;

	if (!value)
		value = dynamic_value(m, DT_RPATH);
	list = value ? string_at(m, offset_of(m, dynamic_value(m, DT_STRTAB)) + value) : NULL;
	while (list && *list) {
		size_t n = strcspn(list, ":");

		if (below(list, n, prefixes)) {
			ret->facts |= PROGRAM_RUNPATH;
			snprintf(ret->runpath, sizeof ret->runpath, "%.*s", (int)n, list);
		}
		list += n + (list[n] == ':');
	}
}

static int look_at_elf(const struct image *m, const char *prefixes, const char *shim,
		       struct program *ret)
{
	const ElfW(Ehdr) *e = at(m, 0, sizeof *e);
	const ElfW(Phdr) *interpreter;
	const char *linker;

	if (!e || e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_machine != MACHINE) {
		ret->facts |= PROGRAM_OTHER_ARCH;
		return 0;
	}
	interpreter = find_header(m, PT_INTERP);
	linker = interpreter ? string_at(m, interpreter->p_offset) : NULL;
	if (!linker)
		ret->facts |= PROGRAM_STATIC;
	else if (!strstr(linker, "/ld-linux"))
		ret->facts |= PROGRAM_OTHER_LIBC;
	if (is_go(m))
		ret->facts |= PROGRAM_GO;
	if (prefixes)
		look_at_runpath(m, prefixes, ret);
	if (shim && linker)
		look_at_imports(m, shim, ret);
	return 0;
}

/* --- Any program --------------------------------------------------------------------------- */

static void look_at_mode(const char *path, struct program *ret)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	if (((st.st_mode & S_ISUID) && st.st_uid != geteuid()) ||
	    ((st.st_mode & S_ISGID) && st.st_gid != getegid()) ||
	    (geteuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0))
		ret->facts |= PROGRAM_SETID;
}

static int look(const char *path, const char *prefixes, const char *shim, struct program *ret, int depth)
{
	char interpreter[256] = "";
	struct image m;
	int r = map_file(path, &m);

	if (r < 0)
		return r;
	snprintf(ret->path, sizeof ret->path, "%s", path);
	ret->script = depth > 0;
	if (m.size > 4 && memcmp(m.p, ELFMAG, SELFMAG) == 0) {
		look_at_mode(path, ret);
		r = look_at_elf(&m, prefixes, shim, ret);
	} else if (m.size > 2 && memcmp(m.p, "#!", 2) == 0 && depth < 4) {
		char line[256] = "";

		memcpy(line, m.p + 2, MIN(m.size - 2, sizeof line - 1));
		line[strcspn(line, "\n")] = '\0';
		r = sscanf(line, " %255s", interpreter) == 1 ? 0 : -ENOEXEC;
	} else {
		r = -ENOEXEC;
	}
	munmap((void *)(uintptr_t)m.p, m.size);
	return *interpreter ? look(interpreter, prefixes, shim, ret, depth + 1) : r;
}

int program_look(const char *path, const char *prefixes, const char *shim, struct program *ret)
{
	*ret = (struct program){ 0 };
	return look(path, prefixes, shim, ret, 0);
}

int program_find(const char *name, char ret[PATH_MAX])
{
	const char *list = getenv("PATH");
	int r = -ENOENT;

	if (strchr(name, '/')) {
		snprintf(ret, PATH_MAX, "%s", name);
		return access(name, F_OK) < 0 ? -errno : 0;
	}
	for (const char *p = list ? list : "/bin:/usr/bin"; *p;) {
		size_t n = strcspn(p, ":");

		snprintf(ret, PATH_MAX, "%.*s%s%s", (int)n, p, n ? "/" : "", name);
		if (access(ret, X_OK) == 0)
			return 0;
		if (errno == EACCES)
			r = -EACCES;
		p += n + (p[n] == ':');
	}
	return r;
}

const char *program_why(unsigned facts)
{
	static const struct {
		unsigned fact;
		const char *text;
	} texts[] = {
		{ PROGRAM_OTHER_ARCH, "is for another kind of machine" },
		{ PROGRAM_GO, "is a Go program, which makes its system calls itself" },
		{ PROGRAM_STATIC, "is statically linked" },
		{ PROGRAM_OTHER_LIBC, "has another C library" },
		{ PROGRAM_SETID, "is set-user-ID, so LD_PRELOAD is ignored" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (facts & texts[i].fact)
			return texts[i].text;
	return NULL;
}
