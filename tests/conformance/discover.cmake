# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=... -DOUTPUT=... -DPREFIX=... -DLAUNCHER=a;b;c -DLABELS=... -DTIMEOUT=... -P discover.cmake
#
# Asks a GoogleTest program, without the launcher, for its tests, and writes a ctest file that runs each of them
# in a process of its own behind the launcher. gtest_discover_tests would need the launcher at build time.
execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listing RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} --gtest_list_tests: ${status}")
endif()

set(launcher "")
foreach(word IN LISTS LAUNCHER)
  string(APPEND launcher " [==[${word}]==]")
endforeach()

set(script "")
set(suite "")
set(count 0)
string(REPLACE "\n" ";" lines "${listing}")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "[ ]*#.*" "" line "${line}")
  if(line MATCHES "^([^ ]+\\.)$")
    set(suite ${CMAKE_MATCH_1})
  elseif(line MATCHES "^  ([^ ]+)$")
    set(test ${suite}${CMAKE_MATCH_1})
    string(APPEND script
      "add_test([==[${PREFIX}.${test}]==]${launcher} [==[${PROGRAM}]==] [==[--gtest_filter=${test}]==])\n"
      "set_tests_properties([==[${PREFIX}.${test}]==] PROPERTIES LABELS [==[${LABELS}]==] TIMEOUT ${TIMEOUT}"
      " SKIP_REGULAR_EXPRESSION \"\\\\[  SKIPPED \\\\]\")\n")
    math(EXPR count "${count} + 1")
  endif()
endforeach()
if(count EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} lists no tests")
endif()
file(WRITE ${OUTPUT} "${script}")
