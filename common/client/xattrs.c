/* Purpose: extended attributes and layouts of named objects.
 *
 * Threads: any; no state. */
#include "internal.h"

/* A reply with one value, as getxattr(2) returns it: size 0 asks for the length. */
static ssize_t value_out(struct ff3_blob value, void *ret, size_t size)
{
	if (size == 0)
		return (ssize_t)value.len;
	if (value.len > size)
		return -ERANGE;
	if (ff3_user_writable(ret, value.len) < 0)
		return -EFAULT;
	if (value.len > 0)
		memcpy(ret, value.p, value.len);
	return (ssize_t)value.len;
}

EXPORT ssize_t ff3fs_getxattr(struct ff3fs *fs, uint64_t dir, const char *path, const char *name,
			      void *value, size_t size, unsigned flags)
{
	FF3_ENTER();
	struct ff3_req_getxattr req = {
		.at = ff3_path_of(dir, path, flags),
		.name = ff3_str_from(name),
	};
	struct ff3_rep_getxattr rep;
	_cleanup_free_ uint8_t *buf = malloc(FF3_XATTR_SIZE_MAX + 64);
	struct ff3_meta_call call =
		FF3_META_CALL(getxattr, false, &req, &rep, buf, FF3_XATTR_SIZE_MAX + 64);
	int r = buf ? ff3_meta_call(fs, &call) : -ENOMEM;

	return r < 0 ? ff3_public(r) : value_out(rep.value, value, size);
}

EXPORT int ff3fs_setxattr(struct ff3fs *fs, uint64_t dir, const char *path, const char *name,
			  const void *value, size_t size, int xattr_flags, unsigned flags)
{
	FF3_ENTER();
	struct ff3_req_setxattr req = {
		.at = ff3_path_of(dir, path, flags),
		.name = ff3_str_from(name),
		.flags = (uint32_t)xattr_flags,
	};
	struct ff3_rep_setxattr rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(setxattr, true, &req, &rep, buf, sizeof buf);

	if (size > FF3_XATTR_SIZE_MAX)
		return -E2BIG;
	if (ff3_user_readable(value, size) < 0)
		return -EFAULT;
	req.value = (struct ff3_blob){ value, (uint32_t)size };
	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT ssize_t ff3fs_listxattr(struct ff3fs *fs, uint64_t dir, const char *path, char *list,
			       size_t size, unsigned flags)
{
	FF3_ENTER();
	struct ff3_req_listxattr req = { .at = ff3_path_of(dir, path, flags) };
	struct ff3_rep_listxattr rep;
	_cleanup_free_ uint8_t *buf = malloc(FF3_BODY_MAX);
	struct ff3_meta_call call =
		FF3_META_CALL(listxattr, false, &req, &rep, buf, FF3_BODY_MAX);
	int r = buf ? ff3_meta_call(fs, &call) : -ENOMEM;

	return r < 0 ? ff3_public(r) : value_out(rep.names, list, size);
}

EXPORT int ff3fs_removexattr(struct ff3fs *fs, uint64_t dir, const char *path, const char *name,
			     unsigned flags)
{
	FF3_ENTER();
	struct ff3_req_removexattr req = {
		.at = ff3_path_of(dir, path, flags),
		.name = ff3_str_from(name),
	};
	struct ff3_rep_removexattr rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(removexattr, true, &req, &rep, buf, sizeof buf);

	return ff3_public(ff3_meta_call(fs, &call));
}

/* --- Layouts --------------------------------------------------------------------------------- */

EXPORT int ff3fs_get_layout(struct ff3fs *fs, uint64_t dir, const char *path,
			    struct ff3fs_layout *ret)
{
	FF3_ENTER();
	struct ff3_req_get_layout req = { .at = ff3_path_of(dir, path, 0) };
	struct ff3_rep_get_layout rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(get_layout, false, &req, &rep, buf, sizeof buf);
	struct ff3_dec d;
	int r = ff3_meta_call(fs, &call);

	if (r < 0)
		return ff3_public(r);
	if (ff3_layout_n_stripe(&rep.layout) > ARRAY_SIZE(ret->chains))
		return -EOVERFLOW;
	memset(ret, 0, sizeof *ret);
	ret->chunk_size = rep.layout.chunk_size;
	ret->n_stripe = ff3_layout_n_stripe(&rep.layout);
	ret->seed = rep.layout.seed;
	ret->pinned = rep.layout.pin == FF3_PIN_MEMORY;
	ret->own = rep.own;
	d = ff3_dec_blob(rep.layout.stripe);
	for (uint32_t i = 0; i < ret->n_stripe; i++)
		ff3_get_u32(&d, &ret->chains[i]);
	return 0;
}

EXPORT int ff3fs_set_layout(struct ff3fs *fs, uint64_t dir, const char *path, uint32_t chunk_size,
			    uint32_t n_stripe)
{
	FF3_ENTER();
	struct ff3_req_set_layout req = {
		.at = ff3_path_of(dir, path, 0),
		.chunk_size = chunk_size,
		.stripe = n_stripe,
	};
	struct ff3_rep_set_layout rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(set_layout, true, &req, &rep, buf, sizeof buf);

	return ff3_public(ff3_meta_call(fs, &call));
}

EXPORT int ff3fs_set_pin(struct ff3fs *fs, uint64_t dir, const char *path, int pinned)
{
	FF3_ENTER();
	struct ff3_req_set_layout req = {
		.at = ff3_path_of(dir, path, 0),
		.pin = pinned ? FF3_PIN_MEMORY : FF3_PIN_NONE,
	};
	struct ff3_rep_set_layout rep;
	uint8_t buf[META_REPLY_SIZE];
	struct ff3_meta_call call = FF3_META_CALL(set_layout, true, &req, &rep, buf, sizeof buf);

	return ff3_public(ff3_meta_call(fs, &call));
}
