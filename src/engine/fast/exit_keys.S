/* SPDX-License-Identifier: Apache-2.0 */
/* The way out where the EPC has a protection key, which is open inside only. */
#define WITH_PKEYS
#include "engine/fast/exit.S"
