/* ff3fs-get: what the workers do. */
#pragma once

#include "transfer.h"

/* Copies one file: job is a struct transfer_job, which it frees. */
void get_file(void *job);
