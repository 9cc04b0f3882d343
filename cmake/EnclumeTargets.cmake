# SPDX-License-Identifier: Apache-2.0
# One place for flags; targets only, no global state.

find_package(Threads REQUIRED)

# Warnings for every target of ours.
add_library(enclume_warnings INTERFACE)
target_compile_options(enclume_warnings INTERFACE
  -Wall -Wextra -Wundef
  $<$<COMPILE_LANGUAGE:CXX>:-Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Wold-style-cast>
  $<$<BOOL:${ENCLUME_WERROR}>:-Werror>)

# libstdc++ 12 hides <expected> from clang before 16, whose concepts are complete enough for it.
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  target_compile_options(enclume_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-macro-redefined -Wno-builtin-macro-redefined -D__cpp_concepts=202002L>)
endif()

# Sanitizers, for all but the engine: it owns the signals and the memory that they want for themselves.
add_library(enclume_sanitize INTERFACE)
if(ENCLUME_SANITIZE)
  target_compile_options(enclume_sanitize INTERFACE
    -fsanitize=${ENCLUME_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(enclume_sanitize INTERFACE -fsanitize=${ENCLUME_SANITIZE})
  if(ENCLUME_SANITIZE MATCHES "undefined")
    # The rooms have no RTTI for it to look at.
    target_compile_options(enclume_sanitize INTERFACE -fno-sanitize=vptr)
  endif()
endif()
if(ENCLUME_FUZZ)
  target_compile_options(enclume_sanitize INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Code that may run on a program's thread inside a signal handler, where FS can be anybody's: no TLS,
# no stack protector, no exceptions, nothing of libc but what tests/checks/signal_symbols allows.
add_library(enclume_signal_safe INTERFACE)
target_compile_options(enclume_signal_safe INTERFACE
  -fno-stack-protector -fno-lto -U_FORTIFY_SOURCE -fdata-sections
  $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti -fno-threadsafe-statics>)

# enclume_room(name SOURCES... [LINK targets...])
# A static library of signal-safe code, includes rooted at src/.
function(enclume_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(enclume_${name} STATIC ${ARG_SOURCES})
  target_include_directories(enclume_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(enclume_${name} PUBLIC ${ARG_LINK}
    PRIVATE enclume_warnings enclume_signal_safe PUBLIC enclume_sanitize)
endfunction()

# enclume_test(name SOURCES... [LINK targets...] [LABELS labels...])
# A GoogleTest program; each of its tests is one ctest entry.
function(enclume_test name)
  if(NOT ENCLUME_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  include(GoogleTest)
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include
                                             ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} enclume_warnings enclume_sanitize GTest::gtest_main)
  # What they test is optimised; they themselves are long tables, which take a third less time to compile so.
  target_compile_options(${name} PRIVATE -O0)
  gtest_discover_tests(${name} PROPERTIES LABELS "${ARG_LABELS}" DISCOVERY_TIMEOUT 60)
endfunction()

# enclume_static(program): a test or benchmark is linked statically, and so is what it needs.
function(enclume_static program)
  set_target_properties(${program} PROPERTIES ENCLUME_STATIC ON)
  target_link_options(${program} PRIVATE -static)
endfunction()
