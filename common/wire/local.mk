# wire.c is part of libff3base (common/base/local.mk).
