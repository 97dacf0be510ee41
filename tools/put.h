/* ff3fs-put: what the workers do. */
#pragma once

#include "transfer.h"

/* Copies one file: job is a struct transfer_job, which it frees. */
void put_file(void *job);
