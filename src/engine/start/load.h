// SPDX-License-Identifier: Apache-2.0
// Static programs: how the process of enclume-load becomes the program's.
#pragma once

/// For enclume-load's main(), with its argv, which is the kernel's stack: maps the program that the
/// environment names (load/initial_stack.h) and starts it. Returns only if this engine is not at work.
extern "C" void enclume_load_program(char** argv);
