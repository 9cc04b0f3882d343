// SPDX-License-Identifier: Apache-2.0
// Children: a program that the program starts runs under the same engine.
#pragma once

namespace enclume::engine {

/// Keeps what `enclume run` put into the environment, for children that are given another one. Once, at
/// start.
void remember_environment(char** environment);

/// The path of enclume-load, which must stay, "" if there is none. Once, at start.
void remember_loader(const char* path);

}  // namespace enclume::engine
