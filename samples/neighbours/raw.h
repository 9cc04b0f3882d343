/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by raw.S and raw.cc: the registers of an entry. */
#ifndef SAMPLES_NEIGHBOURS_RAW_H_
#define SAMPLES_NEIGHBOURS_RAW_H_

#define RAW_TCS 0
#define RAW_RDI 8
#define RAW_RSI 16
#define RAW_RDX 24
#define RAW_FAILED 32

#endif
