# SPDX-License-Identifier: Apache-2.0
# Builds signed enclaves; part of the installed package, and used by the samples here as anybody would.
#
# enclume_add_enclave(NAME SOURCES source…
#   [HEAP bytes] [HEAP_MAX bytes] [STACK bytes] [STACK_MAX bytes] [THREADS number] [FRAMES number] [XFRM mask]
#   [SURVIVE_FAULTS] [DUMPS BACKTRACE|REGISTERS]
#   [OUTPUT file] [KEY file.pem] [PROD_ID number] [SVN number] [PRODUCTION] [LINK libraries…])
#
# Makes the target NAME and the file NAME.enclave, or OUTPUT, in the current binary directory (the target property
# ENCLUME_IMAGE has its path). Sizes take a suffix K, M or G and are rounded up to pages. Defaults: HEAP 1M, STACK
# 64K a thread, THREADS 4, FRAMES 4 (SSA frames a thread), XFRM 3 (x87 and SSE).
#
#   HEAP_MAX        up to here the heap grows, where the processor has SGX2; HEAP is there everywhere, from the start
#   STACK_MAX       the same for the stack of each thread
#   SURVIVE_FAULTS  an exception that nobody handles ends its call alone; without it, the whole enclave
#   DUMPS           what the enclave tells its host of such an exception though it is no debug enclave: where it was,
#                   or with its registers, which may hold secrets; see docs/runtime.md
#   KEY             an RSA-3072 key with exponent 3 in PEM, relative to the current source directory; without it one is made for this build, good for testing only
#   PRODUCTION      the enclave can't be loaded as a debug enclave

# What code inside an enclave is compiled with.
if(NOT TARGET enclume_enclave_flags)
  add_library(enclume_enclave_flags INTERFACE)
  target_compile_options(enclume_enclave_flags INTERFACE
    -fPIE -fvisibility=hidden -fstack-protector-strong -ftls-model=local-exec -U_FORTIFY_SOURCE
    # A guard page stops what goes down page by page only.
    -fstack-clash-protection
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -fno-asynchronous-unwind-tables -fcf-protection=none
    # Optimised in a debug build, too: without it, parts of the C++ library are left to its shared object.
    -ffunction-sections -fdata-sections -O2
    # By these an enclave walks its stack when it fails: without exceptions there are no unwind tables inside.
    -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer
    $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti -fvisibility-inlines-hidden -D_GLIBCXX_EXTERN_TEMPLATE=0>)
  target_compile_features(enclume_enclave_flags INTERFACE cxx_std_23)
endif()

# Of the C++ library's compiled half an enclave gets what stands alone: trees, hash tables, lists. Whatever of it wants
# exceptions or files remains an error of the linker. Of the compiler's own library it gets what instructions are made
# of that the processor lacks: 128-bit division, say.
if(NOT DEFINED ENCLUME_COMPILED_LIBRARIES)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libstdc++.a OUTPUT_VARIABLE enclume_cxx_library
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-libgcc-file-name OUTPUT_VARIABLE enclume_compiler_library
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT IS_ABSOLUTE "${enclume_cxx_library}")
    set(enclume_cxx_library "")
    message(STATUS "No libstdc++.a: <map>, <set>, <list> and unordered containers can't be used in enclaves")
  endif()
  set(ENCLUME_COMPILED_LIBRARIES ${enclume_cxx_library} ${enclume_compiler_library} CACHE INTERNAL "")
endif()

# Where this file is: beside the link script and the notes when installed, in cmake/ of the sources else.
if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/enclave.ld)
  set(ENCLUME_ENCLAVE_DIRECTORY ${CMAKE_CURRENT_LIST_DIR} CACHE INTERNAL "")
else()
  set(ENCLUME_ENCLAVE_DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../src/runtime/enclave CACHE INTERNAL "")
endif()

function(enclume_bytes text result)
  if(NOT text MATCHES "^([0-9]+)([KMG]?)$")
    message(FATAL_ERROR "enclume_add_enclave: ${text} is no size: a number, with K, M or G if you like")
  endif()
  set(number ${CMAKE_MATCH_1})
  set(factor_ 1)
  set(factor_K 1024)
  set(factor_M 1048576)
  set(factor_G 1073741824)
  math(EXPR bytes "(${number} * ${factor_${CMAKE_MATCH_2}} + 4095) / 4096 * 4096")
  set(${result} ${bytes} PARENT_SCOPE)
endfunction()

function(enclume_add_enclave name)
  cmake_parse_arguments(ARG "SURVIVE_FAULTS;PRODUCTION" "HEAP;HEAP_MAX;STACK;STACK_MAX;THREADS;FRAMES;XFRM;DUMPS;OUTPUT;KEY;PROD_ID;SVN"
                        "SOURCES;LINK" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS OR NOT ARG_SOURCES)
    message(FATAL_ERROR "enclume_add_enclave(${name}): SOURCES are missing, or this is not understood: "
                        "${ARG_UNPARSED_ARGUMENTS}")
  endif()
  foreach(default HEAP=1M STACK=64K THREADS=4 FRAMES=4 XFRM=3 PROD_ID=0 SVN=0)
    string(REPLACE "=" ";" default ${default})
    list(GET default 0 key)
    list(GET default 1 value)
    if(NOT DEFINED ARG_${key})
      set(ARG_${key} ${value})
    endif()
  endforeach()
  foreach(part HEAP=heap STACK=stack)
    string(REPLACE "=" ";" part ${part})
    list(GET part 0 key)
    list(GET part 1 variable)
    if(NOT DEFINED ARG_${key}_MAX)
      set(ARG_${key}_MAX ${ARG_${key}})
    endif()
    enclume_bytes(${ARG_${key}} ${variable})
    enclume_bytes(${ARG_${key}_MAX} ${variable}_max)
    if(${variable}_max LESS ${variable})
      message(FATAL_ERROR "enclume_add_enclave(${name}): ${key}_MAX is less than ${key}")
    endif()
  endforeach()
  set(flags 0)
  if(ARG_SURVIVE_FAULTS)
    set(flags 1)
  endif()
  if(ARG_DUMPS STREQUAL "BACKTRACE")
    math(EXPR flags "${flags} + 2")
  elseif(ARG_DUMPS STREQUAL "REGISTERS")
    math(EXPR flags "${flags} + 4")
  elseif(DEFINED ARG_DUMPS)
    message(FATAL_ERROR "enclume_add_enclave(${name}): DUMPS ${ARG_DUMPS} is neither BACKTRACE nor REGISTERS")
  endif()

  # The notes are assembled for each enclave, with its numbers.
  set(notes ${CMAKE_CURRENT_BINARY_DIR}/${name}.notes.S)
  file(CONFIGURE OUTPUT ${notes} @ONLY CONTENT
"#define ENCLUME_THREADS @ARG_THREADS@
#define ENCLUME_HEAP @heap@
#define ENCLUME_HEAP_MAX @heap_max@
#define ENCLUME_STACK @stack@
#define ENCLUME_STACK_MAX @stack_max@
#define ENCLUME_FRAMES @ARG_FRAMES@
#define ENCLUME_FLAGS @flags@
#define ENCLUME_XFRM @ARG_XFRM@
#include \"@ENCLUME_ENCLAVE_DIRECTORY@/config.S\"
")
  set(linker_script ${ENCLUME_ENCLAVE_DIRECTORY}/enclave.ld)
  add_executable(${name} ${ARG_SOURCES} ${notes})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} enclume::enclave ${ENCLUME_COMPILED_LIBRARIES})
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS ${linker_script})
  target_link_options(${name} PRIVATE
    -nostdlib -static-pie -Wl,-T,${linker_script} -Wl,--build-id=none -Wl,--gc-sections -Wl,-z,noexecstack
    -Wl,-z,text -Wl,--no-undefined -Wl,--hash-style=gnu -Wl,--no-warn-rwx-segments)
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR} SUFFIX .unsigned POSITION_INDEPENDENT_CODE ON)

  # As SOURCES are, from where the CMakeLists.txt is.
  if(ARG_KEY)
    cmake_path(ABSOLUTE_PATH ARG_KEY BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
  endif()
  set(key ${ARG_KEY})
  set(key_dependency ${ARG_KEY})
  if(NOT key)
    set(key ${CMAKE_BINARY_DIR}/enclume-test-key.pem)
    set(key_dependency enclume_test_signing_key)
    if(NOT TARGET enclume_test_signing_key)
      add_custom_command(OUTPUT ${key} COMMAND enclume::cli sign --new-key ${key} VERBATIM
        COMMENT "Making a signing key for the enclaves of this build")
      add_custom_target(enclume_test_signing_key DEPENDS ${key})
    endif()
  endif()
  if(NOT ARG_OUTPUT)
    set(ARG_OUTPUT ${name}.enclave)
  endif()
  cmake_path(ABSOLUTE_PATH ARG_OUTPUT BASE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR} NORMALIZE OUTPUT_VARIABLE image)
  set(options --key ${key} --product-id ${ARG_PROD_ID} --svn ${ARG_SVN})
  if(ARG_PRODUCTION)
    list(APPEND options --production)
  endif()
  add_custom_command(OUTPUT ${image}
    COMMAND ${CMAKE_OBJCOPY} --strip-debug $<TARGET_FILE:${name}> ${image}.stripped
    COMMAND enclume::cli sign ${options} --output ${image} ${image}.stripped
    BYPRODUCTS ${image}.stripped
    DEPENDS ${name} ${key_dependency} VERBATIM COMMENT "Signing ${ARG_OUTPUT}")
  add_custom_target(${name}_image ALL DEPENDS ${image})
  set_target_properties(${name} PROPERTIES ENCLUME_IMAGE ${image})
endfunction()
