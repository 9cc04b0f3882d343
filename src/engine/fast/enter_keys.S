/* SPDX-License-Identifier: Apache-2.0 */
/* The way in where the EPC has a protection key, which is open inside only. */
#define WITH_PKEYS
#include "engine/fast/enter.S"
