/* SPDX-License-Identifier: Apache-2.0 */
/* Offsets that stub.S and execute.h share; execute.cc checks them. */
#ifndef ENCLUME_ENGINE_ABORT_PAGE_STUB_H
#define ENCLUME_ENGINE_ABORT_PAGE_STUB_H

#define STUB_GPR 0
#define STUB_FLAGS 128
#define STUB_AREA 136
#define STUB_MASK 144
#define STUB_CODE 152
#define STUB_FAULTED 160

#endif
