/* SPDX-License-Identifier: Apache-2.0 */
/* For assembly, too: unwind information that is made at build time depends on it. */
#pragma once

/* Behind all headers that an image can have. */
#define ENCLUME_VDSO_ENTRY_OFFSET 1024
