/* What metad knows of an object, and small functions on it. */
#pragma once

#include <sys/stat.h>

#include "../common/wire/wire.h"

struct metad_inode {
	uint64_t ino;
	uint64_t generation;
	uint64_t size;
	int64_t atime, mtime, ctime, btime; /* ns since 1970 */
	uint64_t parent;                    /* and name_hash: see schema.sql */
	uint64_t name_hash;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t nlink;
	uint32_t chunk_size;
	uint32_t stripe;
	uint32_t seed;
	uint32_t truncs;
	uint8_t pin; /* FF3_PIN_*, or 0 */
	bool sparse; /* of a file: chunks may be absent by right */
};

/* On whose behalf something is done. */
struct metad_cred {
	uint32_t uid;
	uint32_t gid;
	const uint32_t *groups;
	uint32_t n_groups;
};

enum { METAD_MAY_EXEC = 1, METAD_MAY_WRITE = 2, METAD_MAY_READ = 4 };

bool metad_in_group(const struct metad_cred *cred, uint32_t gid);
/* 0 or -EACCES. mask: METAD_MAY_*, which are X_OK, W_OK, R_OK too. */
int metad_permission(const struct metad_cred *cred, const struct metad_inode *inode, unsigned mask);
/* Whose right to read it is. */
struct metad_reader {
	uint32_t user;
	uint32_t group; /* that it had to be in, or FF3_NO_GROUP */
};
/* Of cred, which may read inode. */
struct metad_reader metad_reader_of(const struct metad_cred *cred, const struct metad_inode *inode);
/* Whether cred may do what an owner may. */
static inline bool metad_is_owner(const struct metad_cred *cred, const struct metad_inode *inode)
{
	return cred->uid == 0 || cred->uid == inode->uid;
}

void metad_inode_attr(const struct metad_inode *inode, struct ff3_attr *ret);
/* The bits of the mode that a change of owner, or a write by cred, takes away. */
uint32_t metad_mode_kills(const struct metad_cred *cred, const struct metad_inode *inode);
struct ff3_time metad_time_to_wire(int64_t ns);
/* Clamped to what 64 bits of nanoseconds hold. -EINVAL for nsec over 999999999. */
int metad_time_from_wire(const struct ff3_time *t, int64_t *ret);

static inline uint32_t metad_dirent_type(uint32_t mode)
{
	return (mode & S_IFMT) >> 12;
}

/* A fast 64-bit hash, the same on every machine and in every version: it orders directories on
 * disk and chains log records. Not meant against forgery. */
uint64_t metad_hash(uint64_t seed, const void *data, size_t len);
/* 62 bits, at least 16: small cookies are free for "." and "..". */
uint64_t metad_name_hash(uint64_t parent, struct ff3_str name);
