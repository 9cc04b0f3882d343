// SPDX-License-Identifier: Apache-2.0
// Children: a program that the program starts runs under the same engine.
#pragma once

namespace enclume::engine {

/// Keeps what `enclume run` put into the environment, for children that are given another one. Once, at
/// start.
void remember_environment(char** environment);

/// At once in a child by fork: its next thread must not be taken for the only one. (A child made by a raw
/// system call finds out with its first signal or front door.)
void after_fork_in_child();

/// The path of enclume-load, which must stay, "" if there is none. Once, at start.
void remember_loader(const char* path);

}  // namespace enclume::engine
