/* Purpose: pure functions on inodes: permissions, conversion, hashing.
 * Threads: no state; callable from anywhere. */
#include "inode.h"

#include <endian.h>

bool metad_in_group(const struct metad_cred *cred, uint32_t gid)
{
	if (cred->gid == gid)
		return true;
	for (uint32_t i = 0; i < cred->n_groups; i++)
		if (cred->groups[i] == gid)
			return true;
	return false;
}

int metad_permission(const struct metad_cred *cred, const struct metad_inode *inode, unsigned mask)
{
	uint32_t bits = inode->mode;

	if (cred->uid == 0) {
		/* Root may everything but execute what nobody may execute. */
		if ((mask & METAD_MAY_EXEC) && !S_ISDIR(inode->mode) && !(bits & 0111))
			return -EACCES;
		return 0;
	}
	if (cred->uid == inode->uid)
		bits >>= 6;
	else if (metad_in_group(cred, inode->gid))
		bits >>= 3;
	return (mask & ~bits & 7) ? -EACCES : 0;
}

struct metad_reader metad_reader_of(const struct metad_cred *cred, const struct metad_inode *inode)
{
	bool by_group = !metad_is_owner(cred, inode) && !(inode->mode & S_IROTH);

	return (struct metad_reader){ cred->uid, by_group ? inode->gid : FF3_NO_GROUP };
}

uint32_t metad_mode_kills(const struct metad_cred *cred, const struct metad_inode *inode)
{
	uint32_t kills = S_ISUID;

	if (S_ISDIR(inode->mode))
		return 0;
	if ((inode->mode & S_IXGRP) || (cred->uid != 0 && !metad_in_group(cred, inode->gid)))
		kills |= S_ISGID;
	return inode->mode & kills;
}

struct ff3_time metad_time_to_wire(int64_t ns)
{
	int64_t sec = ns / (int64_t)FF3_NSEC_PER_SEC, rest = ns % (int64_t)FF3_NSEC_PER_SEC;

	if (rest < 0) {
		sec--;
		rest += (int64_t)FF3_NSEC_PER_SEC;
	}
	return (struct ff3_time){ (uint64_t)sec, (uint32_t)rest };
}

int metad_time_from_wire(const struct ff3_time *t, int64_t *ret)
{
	const int64_t max = INT64_MAX / (int64_t)FF3_NSEC_PER_SEC - 1;
	int64_t sec = (int64_t)t->sec;

	if (t->nsec >= FF3_NSEC_PER_SEC)
		return -EINVAL;
	sec = MIN(MAX(sec, -max), max);
	*ret = sec * (int64_t)FF3_NSEC_PER_SEC + t->nsec;
	return 0;
}

void metad_inode_attr(const struct metad_inode *inode, struct ff3_attr *ret)
{
	*ret = (struct ff3_attr){
		.ino = inode->ino,
		.generation = inode->generation,
		.cuts = inode->truncs,
		.mode = inode->mode,
		.uid = inode->uid,
		.gid = inode->gid,
		.nlink = inode->nlink,
		.size = inode->size,
		.atime = metad_time_to_wire(inode->atime),
		.mtime = metad_time_to_wire(inode->mtime),
		.ctime = metad_time_to_wire(inode->ctime),
		.btime = metad_time_to_wire(inode->btime),
	};
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	__uint128_t m = (__uint128_t)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t metad_hash(uint64_t seed, const void *data, size_t len)
{
	static const uint64_t k0 = 0x9e3779b97f4a7c15ull, k1 = 0xd1b54a32d192ed03ull;
	const uint8_t *p = data;
	uint64_t h = fold(seed ^ k0, len ^ k1), w;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&w, p, 8);
		h = fold(h ^ le64toh(w), k0) + k1;
	}
	w = 0;
	for (size_t i = 0; i < len; i++)
		w |= (uint64_t)p[i] << (8 * i);
	h = fold(h ^ w, k1) + k0;
	return fold(h, k0 ^ (h >> 32));
}

uint64_t metad_name_hash(uint64_t parent, struct ff3_str name)
{
	uint64_t h = metad_hash(parent, name.p, name.len) >> 2;

	return h < 16 ? h + 16 : h;
}
