# SPDX-License-Identifier: Apache-2.0
# cmake -DPROGRAM=... -DOUTPUT=... -DPREFIX=... -DLAUNCHER=a;b;c -DLABELS=... -DTIMEOUT=... [-DFILTER=...] -P discover.cmake
#
# Asks a GoogleTest program, without the launcher, for its tests, and writes a ctest file that runs each of them
# in a process of its own behind the launcher. gtest_discover_tests would need the launcher at build time.
cmake_policy(SET CMP0057 NEW)  # IN_LIST
if(NOT FILTER)
  set(FILTER *)
endif()
execute_process(COMMAND ${PROGRAM} --gtest_list_tests --gtest_filter=${FILTER} OUTPUT_VARIABLE listing RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} --gtest_list_tests: ${status}")
endif()

set(launcher "")
foreach(word IN LISTS LAUNCHER)
  string(APPEND launcher " [==[${word}]==]")
endforeach()

# The names in known_deviations.txt, for a launcher other than none.
set(deviations "")
set(undecided "")
if(LAUNCHER)
  file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/known_deviations.txt lines REGEX "^[^#]")
  foreach(line IN LISTS lines)
    if(line MATCHES "^~([^ ]+): (.*)$")
      list(APPEND undecided conformance.${CMAKE_MATCH_1})
      set("reason.conformance.${CMAKE_MATCH_1}" "${CMAKE_MATCH_2}")
    elseif(line MATCHES "^([^ ]+): ")
      list(APPEND deviations conformance.${CMAKE_MATCH_1})
    endif()
  endforeach()
endif()

set(script "")
set(suite "")
set(count 0)
string(REPLACE "\n" ";" lines "${listing}")
foreach(line IN LISTS lines)
  string(REGEX REPLACE "[ ]*#.*" "" line "${line}")
  if(line MATCHES "^([^ ]+\\.)$")
    set(suite ${CMAKE_MATCH_1})
  elseif(line MATCHES "^  DISABLED_")
    # Not a test but a program that one of them starts.
  elseif(line MATCHES "^  ([^ ]+)$")
    set(test ${suite}${CMAKE_MATCH_1})
    set(guard "")
    # What deviates does so without libc's system calls, too.
    string(REGEX REPLACE "^conformance\\.raw_" "conformance." listed "${PREFIX}.${test}")
    if("${listed}" IN_LIST deviations)
      set(guard " [==[${CMAKE_CURRENT_LIST_DIR}/expect-failure]==]")
    endif()
    set(command "${guard}${launcher} [==[${PROGRAM}]==] [==[--gtest_filter=${test}]==]")
    if("${listed}" IN_LIST undecided)
      # Skipped in GoogleTest's words, with the reason where it would print it.
      set(command " [==[${CMAKE_COMMAND}]==] -E echo [==[[  SKIPPED ]\n${reason.${listed}}]==]")
    endif()
    string(APPEND script
      "add_test([==[${PREFIX}.${test}]==]${command})\n"
      "set_tests_properties([==[${PREFIX}.${test}]==] PROPERTIES LABELS [==[${LABELS}]==] TIMEOUT ${TIMEOUT}"
      " SKIP_REGULAR_EXPRESSION \"\\\\[  SKIPPED \\\\]\")\n")
    math(EXPR count "${count} + 1")
  endif()
endforeach()
if(count EQUAL 0)
  message(FATAL_ERROR "${PROGRAM} lists no tests")
endif()
file(WRITE ${OUTPUT} "${script}")
