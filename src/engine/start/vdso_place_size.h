/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whole pages. A larger image is loaded by the dynamic linker. */
#define ENCLUME_VDSO_PLACE_SIZE 8192
