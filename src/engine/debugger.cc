// SPDX-License-Identifier: Apache-2.0
#include "engine/debugger.h"

__asm__(
    ".pushsection .text\n"
    ".globl enclume_debugger_enclu\n"
    ".type enclume_debugger_enclu, @function\n"
    "enclume_debugger_enclu:\n"
    ".byte 0x0f, 0x01, 0xd7\n"
    ".size enclume_debugger_enclu, . - enclume_debugger_enclu\n"
    ".popsection");

extern "C" {
__attribute__((visibility("default"))) constinit enclume::engine::DebuggerInterface enclume_debugger{
    1, 0, 0, 0, nullptr, 0, 0, 0};

__attribute__((visibility("default"), noinline)) void enclume_debugger_event(
    enclume::engine::DebuggerEvent event, int signo) {
  __asm__ volatile("" : : "r"(event), "r"(signo) : "memory");
}
}
