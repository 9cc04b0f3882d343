/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that raw/'s assembly and C++ share; C++ checks each against the real type. */
#ifndef ENCLUME_ENGINE_RAW_LAYOUT_H
#define ENCLUME_ENGINE_RAW_LAYOUT_H

/* Call */
#define CALL_ARGUMENT(n) ((n)*8)
#define CALL_NUMBER 48

/* How enclume_execute() ended. */
#define EXECUTE_DONE 0
#define EXECUTE_AGAIN 1
#define EXECUTE_FILTERED 2

/* CloneRecord, and how many there are: as many calls can be on their way at once. */
#define CLONE_RECORDS 512
#define CLONE_RECORD_SIZE 192
#define CLONE_RDI 0
#define CLONE_RSI 8
#define CLONE_STACK 16
#define CLONE_STACK_SIZE 32

#define NR_SIGALTSTACK 131

#endif
