// SPDX-License-Identifier: Apache-2.0
// RTLD_DEEPBIND: a library that looks for its functions in its own dependencies first finds libc's there, and
// would go past the front doors.
#pragma once

namespace enclume::engine {

/// A dlopen() with that flag is about to be made.
void expect_deep_binding() noexcept;

/// Called when the dynamic linker has mapped new objects and has not relocated them yet. Of those that came
/// with such a dlopen(), the references to functions of libc that have a front door become references to
/// that.
void bind_front_doors() noexcept;

}  // namespace enclume::engine
