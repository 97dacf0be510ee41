/* Who may use which extended attribute; shared by the changing and the reading operations. */
#pragma once

#include "inode.h"

/* 0 or what Linux answers: -ERANGE for a bad length, -EOPNOTSUPP for a namespace that is not kept,
 * -EPERM, -EACCES, -ENODATA. */
int metad_may_xattr(const struct metad_cred *cred, const struct metad_inode *inode,
		    struct ff3_str name, bool write);
